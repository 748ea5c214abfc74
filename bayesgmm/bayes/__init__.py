"""The posterior: its density, its PyMC model, and the samplers that draw from it."""
