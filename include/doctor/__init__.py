"""Whether a deployment's systems can be reached and used as this project uses them, and in words what is wrong.

One module a family of systems; each check reads the settings that every program of the project reads, and knows nothing
of who else will act on what it finds.
"""
