"""The process model: modules, a listener, event queues and worker processes."""
