"""The audit: what a record says, how records are chained, and how they leave as DICOM and FHIR."""
