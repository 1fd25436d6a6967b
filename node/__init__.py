"""Node: "I carry. I decide nothing."

This room speaks both vocabularies and knows which replica sits at which endpoint; it has the keys, the storage and
the wire. It must not know protocol rules or geometry.
"""
