"""The gevent server, the contract, clients that misbehave, and image URLs."""
