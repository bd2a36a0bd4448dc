"""OpenVINO: what runs its files."""
