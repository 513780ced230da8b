"""The way of one task: route, REQUEST durable, agent executes, RESPONSE durable, answer."""
