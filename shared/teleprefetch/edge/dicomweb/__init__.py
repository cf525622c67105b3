"""The node's DICOMweb service: a request in, a response out, over what the store holds."""
