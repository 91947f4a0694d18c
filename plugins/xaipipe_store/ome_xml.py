"""`OME/METADATA.ome.xml`: the collection's images in OME's own words, for readers that start there."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from xaipipe.running.layout import ArraySpec, Layout
from xaipipe_store.ngff import placement

_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_SCHEMA = f"{_NAMESPACE} {_NAMESPACE}/ome.xsd"
_TYPES = {"float32": "float", "float64": "double", "uint8": "uint8"}


def ome_xml(images: Mapping[str, ArraySpec], layout: Layout, creator: str) -> bytes:
    """The first level of every image, in the order of the collection's series."""
    root = ElementTree.Element("OME", {"xmlns": _NAMESPACE, "Creator": creator})
    root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    root.set("xsi:schemaLocation", _SCHEMA)
    for number, (name, spec) in enumerate(images.items()):
        image = ElementTree.SubElement(root, "Image", {"ID": f"Image:{number}", "Name": name})
        _add_pixels(image, number, spec, layout)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _add_pixels(image: ElementTree.Element, number: int, spec: ArraySpec, layout: Layout) -> None:
    sizes = {"X": spec.width, "Y": spec.height, "Z": 1, "C": len(spec.channels), "T": 1}
    attributes = {"ID": f"Pixels:{number}", "DimensionOrder": "XYCZT", "Type": _TYPES[spec.dtype]}
    attributes |= {f"Size{axis}": str(size) for axis, size in sizes.items()}
    if layout.mpp:
        cell = repr(placement(spec, layout)[0] * layout.mpp)
        for axis in "XY":
            attributes |= {f"PhysicalSize{axis}": cell, f"PhysicalSize{axis}Unit": "µm"}
    pixels = ElementTree.SubElement(image, "Pixels", attributes)
    for index, channel in enumerate(spec.channels):
        identity = {"ID": f"Channel:{number}:{index}", "Name": channel, "SamplesPerPixel": "1"}
        ElementTree.SubElement(pixels, "Channel", identity)
    ElementTree.SubElement(pixels, "MetadataOnly")
