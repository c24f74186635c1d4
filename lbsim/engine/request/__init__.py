"""The engine of requests: clients, a balancer, and servers that share their processor."""
