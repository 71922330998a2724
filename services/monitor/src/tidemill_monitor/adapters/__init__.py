"""How monitor's ports are met: MongoDB and feedback's exchange bucket."""
