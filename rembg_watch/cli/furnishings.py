"""Five things for the home that a shop sells, each drawn in the studio. The same pixels every time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import ImageChops

from rembg_watch.cli.studio import Picture, curve, joined, mirrored, roundness, without

if TYPE_CHECKING:
    from PIL import Image

    from rembg_watch.cli.studio import Point


def mug() -> Image.Image:
    """Draw a travel mug with a cork sleeve."""
    p = Picture(800, 900, "#f7f7f8", "#e9eaed")
    p.shadow(215, 770, 640, 835)
    body = p.polygon([(250, 200), (550, 200), (508, 790), (292, 790)])
    body = joined(body, p.ellipse(292, 768, 508, 812))
    p.paint(body, p.across(250, 550, roundness("#0f4f52", "#17797c", "#5fc4bf")))
    sleeve = p.polygon([(262, 370), (538, 370), (520, 610), (280, 610)])
    sleeve = joined(without(sleeve, p.ellipse(262, 348, 538, 392)), p.ellipse(280, 590, 520, 630))
    p.paint(sleeve, p.across(262, 538, roundness("#7a4f2c", "#b07a48", "#dcb07c")))
    for x, y in ((300, 440), (340, 520), (372, 460), (410, 560), (452, 430), (480, 540), (500, 470), (330, 585)):
        p.paint(p.ellipse(x, y, x + 9, y + 6), "#6b4426", 0.55)
    p.gloss(p.polygon([(262, 610), (538, 610), (536, 640), (264, 640)]), body, 0.35, 9, "black")
    lid = joined(p.rounded(236, 150, 564, 212, 22), p.ellipse(262, 128, 538, 178))
    p.paint(lid, p.across(236, 564, roundness("#16181b", "#2b2f34", "#7b828a")))
    p.paint(p.ellipse(268, 132, 532, 172), p.down(132, 172, [(0, "#5d646c"), (1, "#272a2f")]))
    p.paint(p.rounded(372, 142, 428, 154, 6), "#0c0d0f")
    p.gloss(p.polygon([(318, 230), (342, 230), (352, 340), (330, 340)]), body, 0.5, 5)
    return p.image


def bottle() -> Image.Image:
    """Draw a bottle of olive oil."""
    p = Picture(700, 1000, "#f6f7f4", "#e7e9e3")
    p.shadow(190, 880, 560, 940)
    outline = mirrored(
        (350, 120), (384, 122), (387, 300), (392, 332), (404, 362), (440, 404), (466, 436), (481, 468), (486, 506),
        (486, 880), (482, 898), (470, 908), (350, 914), about=350,
    )  # fmt: skip
    glass = p.polygon(outline)
    p.paint(glass, p.across(214, 486, roundness("#1c2b0c", "#44611a", "#a9c04e")))
    p.gloss(p.rounded(232, 470, 250, 880, 9), glass, 0.75, 5)
    p.gloss(p.rounded(322, 180, 334, 340, 6), glass, 0.7, 3)
    p.gloss(p.rounded(440, 460, 480, 900, 9), glass, 0.35, 12, "#d9e88a")
    cap = p.rounded(306, 84, 394, 190, 12)
    p.paint(cap, p.across(306, 394, roundness("#5b4312", "#a98429", "#f3dc8c")))
    for x in range(314, 392, 9):
        p.paint(ImageChops.multiply(p.stroke(2, (x, 100), (x, 176)), cap), "#4a360d", 0.4)
    label = p.polygon([(214, 560), (486, 560), (486, 800), (214, 800)])
    p.paint(
        label,
        p.across(214, 486, [(0, "#a8997c"), (0.2, "#e8dcc0"), (0.34, "#fff8e6"), (0.7, "#d8caa9"), (1, "#8f815f")]),
    )
    p.paint(ImageChops.multiply(p.polygon([(214, 574), (486, 574), (486, 580), (214, 580)]), label), "#6d5a1e")
    p.paint(ImageChops.multiply(p.polygon([(214, 780), (486, 780), (486, 786), (214, 786)]), label), "#6d5a1e")
    p.paint(p.stroke(5, (296, 740), (340, 690), (404, 628)), "#5b6b22")
    for x, y, turn in ((318, 700, -1), (346, 668, -1), (376, 640, -1), (330, 722, 1), (362, 690, 1), (394, 658, 1)):
        leaf = p.blob(
            (x, y), (x + 16 * turn + 8, y - 10 + 14 * turn), (x + 34 * turn + 10, y + 4 * turn), (x + 14 * turn, y + 10)
        )
        p.paint(leaf, "#6f8429")
    p.paint(p.ellipse(398, 672, 426, 706), p.down(672, 706, [(0, "#8d9b3a"), (1, "#3f4a12")]))
    p.paint(p.stroke(8, (290, 600), (410, 600)), "#3d3a24")
    return p.image


def armchair() -> Image.Image:
    """Draw a mustard-coloured armchair."""
    p = Picture(960, 900, "#f6f6f7", "#e8e8eb")
    p.shadow(170, 770, 800, 840)
    for foot in (
        [(262, 700), (302, 700), (262, 812), (244, 812)], [(658, 700), (698, 700), (716, 812), (698, 812)],
        [(342, 700), (370, 700), (352, 780), (338, 780)], [(590, 700), (618, 700), (622, 780), (608, 780)],
    ):  # fmt: skip
        p.paint(p.polygon([(float(x), float(y)) for x, y in foot]), p.down(700, 812, [(0, "#5a3a22"), (1, "#99683f")]))
    back = p.blob(
        (270, 240), (330, 150), (480, 128), (630, 150), (690, 240), (704, 480), (690, 640), (270, 640), (256, 480)
    )
    p.paint(
        back,
        p.across(256, 704, [(0, "#a87311"), (0.25, "#dca52f"), (0.5, "#e9b743"), (0.8, "#c08a1c"), (1, "#8a5c0b")]),
    )
    for x in (380, 480, 580):
        p.gloss(p.stroke(7, (x, 190), (x + (x - 480) * 0.06, 460)), back, 0.4, 3, "#5d3c05")
        p.gloss(p.stroke(14, (x + 18, 196), (x + 18 + (x - 480) * 0.06, 450)), back, 0.22, 8)
    p.gloss(p.polygon([(256, 450), (704, 450), (704, 540), (256, 540)]), back, 0.5, 24, "#4a3004")
    seat = p.rounded(276, 500, 684, 622, 46)
    p.paint(seat, p.down(500, 622, [(0, "#f1c55a"), (0.4, "#dda733"), (1, "#96660c")]))
    front = p.rounded(262, 602, 698, 722, 26)
    p.paint(front, p.down(602, 722, [(0, "#8f610c"), (0.16, "#cf9826"), (1, "#8a5b09")]))
    for left, right in ((186, 306), (654, 774)):
        arm = joined(p.rounded(left, 430, right, 726, 52))
        p.gloss(p.rounded(left - 16, 450, right + 16, 730, 52), joined(seat, front, back), 0.3, 12, "#3d2703")
        p.paint(arm, p.across(left, right, [(0, "#a36f10"), (0.35, "#e5b13e"), (0.7, "#c58f20"), (1, "#8b5d0a")]))
        p.gloss(p.rounded(left + 24, 440, right - 24, 476, 18), arm, 0.4, 9)
    p.gloss(p.rounded(330, 510, 630, 534, 12), seat, 0.45, 9)
    cushion = p.blob((392, 392), (480, 402), (572, 388), (566, 462), (578, 540), (480, 530), (384, 544), (398, 464))
    p.gloss(
        p.blob((386, 402), (480, 412), (584, 400), (590, 556), (480, 548), (382, 558)),
        joined(back, seat),
        0.4,
        9,
        "black",
    )
    p.paint(cushion, p.down(390, 545, [(0, "#4d8c92"), (0.5, "#2d6a71"), (1, "#184349")]))
    p.gloss(p.ellipse(420, 410, 520, 460), cushion, 0.25, 20)
    return p.image


def lamp() -> Image.Image:
    """Draw a table lamp with a coral shade, lit."""
    p = Picture(760, 940, "#f8f6f3", "#ebe7e1")
    p.shadow(230, 820, 540, 880)
    p.paint(p.rounded(370, 420, 390, 640, 8), p.across(370, 390, roundness("#5b4312", "#a98429", "#f6e3a0")))
    base = p.polygon(
        curve(
            mirrored(
                (380, 596),
                (404, 602),
                (420, 632),
                (466, 690),
                (486, 756),
                (466, 820),
                (424, 850),
                (380, 856),
                about=380,
            )[:-1]
        )
    )
    p.paint(joined(base, p.ellipse(316, 826, 444, 862)), p.across(274, 486, roundness("#17353f", "#2d6474", "#8fc4cf")))
    p.gloss(p.blob((318, 700), (334, 690), (330, 760), (318, 770)), base, 0.9, 4)
    shade = joined(p.polygon([(290, 130), (470, 130), (566, 430), (194, 430)]), p.ellipse(194, 404, 566, 456))
    p.paint(
        shade,
        p.across(194, 566, [(0, "#a8452f"), (0.25, "#e77d58"), (0.45, "#f7a681"), (0.75, "#d9684a"), (1, "#96381f")]),
    )
    p.gloss(p.ellipse(300, 220, 460, 460), shade, 0.7, 50, "#ffe2a8")
    p.paint(p.ellipse(290, 114, 470, 146), "#8a3a22")
    p.paint(p.ellipse(300, 119, 460, 141), p.down(119, 141, [(0, "#f6c37f"), (1, "#ffdfa6")]))
    rim = without(p.ellipse(194, 404, 566, 456), p.ellipse(188, 394, 572, 447))
    p.paint(ImageChops.multiply(rim, shade), "#7d2f1a", 0.8)
    return p.image


def plant() -> Image.Image:
    """Draw a pot plant."""
    p = Picture(860, 960, "#f7f8f6", "#e8ebe6")
    p.shadow(240, 830, 620, 900)
    leaves = [(-78, 300), (-52, 400), (78, 310), (50, 410), (-26, 470), (28, 460), (2, 500), (-100, 220), (98, 210)]
    for number, (angle, length) in enumerate(leaves):
        turn = math.radians(angle)
        ahead, aside = (math.sin(turn), -math.cos(turn)), (math.cos(turn), math.sin(turn))
        droop = abs(angle) * 0.9

        def at(
            along: float, across: float, a: Point = ahead, b: Point = aside, n: int = length, d: float = droop
        ) -> Point:
            return (430 + a[0] * n * along + b[0] * across, 600 + a[1] * n * along + b[1] * across + d * along**2)

        wide = 44 + 8 * (number % 3)
        blade = p.blob(
            at(0.1, -8),
            at(0.45, -wide),
            at(0.75, -wide * 0.8),
            at(1, 0),
            at(0.75, wide * 0.8),
            at(0.45, wide),
            at(0.1, 8),
        )
        under = p.blob(at(0.1, 0), at(0.45, 2), at(0.75, 2), at(1, 0), at(0.75, wide * 0.8), at(0.45, wide), at(0.1, 8))
        light, dark = (("#5cab4f", "#1d5c2b"), ("#78bf5c", "#2a6b2e"), ("#4a9a55", "#174d2a"))[number % 3]
        p.gloss(blade, p.ellipse(60, 100, 800, 700), 0.12, 8, "#12301a")
        p.paint(blade, p.down(at(1, 0)[1] - 40, 640, [(0, light), (1, dark)]))
        p.paint(ImageChops.multiply(under, blade), "#0d3a1c", 0.3)
        p.paint(p.stroke(4, at(0, 0), at(0.5, 0), at(0.94, 0)), "#c3e0a0", 0.75)
    p.paint(p.polygon([(300, 620), (560, 620), (520, 850), (340, 850)]), "#8a3f22")
    pot = joined(p.polygon([(304, 640), (556, 640), (518, 852), (342, 852)]), p.ellipse(342, 836, 518, 868))
    p.paint(pot, p.across(300, 560, roundness("#7d351a", "#b95a34", "#e79a72")))
    p.gloss(p.polygon([(300, 640), (560, 640), (556, 690), (304, 690)]), pot, 0.5, 10, "#3f170a")
    rim = p.rounded(284, 592, 576, 662, 14)
    p.paint(rim, p.across(284, 576, roundness("#86391c", "#c5643c", "#f0a77f")))
    return p.image
