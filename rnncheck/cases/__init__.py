"""What is run, and on which inputs."""
