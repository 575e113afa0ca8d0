"""The idea and its parts: config, schedule, routers, recursions, layers, cache, backbone, accounting."""
