"""Pictures of triangle meshes and of people, drawn on the CPU without a display.

``rasterizer`` finds the nearest triangle of each pixel, ``scene`` gives colour, depth and
segmentation, ``appearance`` makes clothes and backgrounds, and ``people`` draws labelled pictures
and videos of stand-in people.
"""
