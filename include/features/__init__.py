"""Features: row-local, vectorised functions of subject, references and windows."""
