"""Network: "I decide whether and when a message arrives, and I keep time."

This room knows endpoints, positions, links, sizes and bytes. It must not know what the bytes mean, nor views, blocks
or votes. Kilometres and degrees are floats inside the geometry; they become integer nanoseconds when they leave it
and are never floats again.
"""
