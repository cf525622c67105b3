"""The stack on one machine: moto for AWS, a HealthImaging stand-in, sample studies."""
