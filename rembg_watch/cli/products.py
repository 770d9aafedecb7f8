"""Ten things that a shop sells, each drawn in the studio. The same pixels every time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import ImageChops

from rembg_watch.cli.studio import Picture, curve, joined, soft, without

if TYPE_CHECKING:
    from PIL import Image

    from rembg_watch.cli.studio import Point, Stops


def _mirrored(*points: Point, about: float) -> list[Point]:
    """Give an outline from its right half, listed from top to bottom."""
    return [*points, *((2 * about - x, y) for x, y in reversed(points))]


def _round(dark: str, middle: str, light: str) -> Stops:
    """Give the light around something round: from the left, with a reflection at the far edge."""
    return [(0, dark), (0.12, middle), (0.3, light), (0.42, middle), (0.85, dark), (0.95, dark), (1, middle)]


def mug() -> Image.Image:
    """Draw a travel mug with a cork sleeve."""
    p = Picture(800, 900, "#f7f7f8", "#e9eaed")
    p.shadow(215, 770, 640, 835)
    body = p.polygon([(250, 200), (550, 200), (508, 790), (292, 790)])
    body = joined(body, p.ellipse(292, 768, 508, 812))
    p.paint(body, p.across(250, 550, _round("#0f4f52", "#17797c", "#5fc4bf")))
    sleeve = p.polygon([(262, 370), (538, 370), (520, 610), (280, 610)])
    sleeve = joined(without(sleeve, p.ellipse(262, 348, 538, 392)), p.ellipse(280, 590, 520, 630))
    p.paint(sleeve, p.across(262, 538, _round("#7a4f2c", "#b07a48", "#dcb07c")))
    for x, y in ((300, 440), (340, 520), (372, 460), (410, 560), (452, 430), (480, 540), (500, 470), (330, 585)):
        p.paint(p.ellipse(x, y, x + 9, y + 6), "#6b4426", 0.55)
    p.gloss(p.polygon([(262, 610), (538, 610), (536, 640), (264, 640)]), body, 0.35, 9, "black")
    lid = joined(p.rounded(236, 150, 564, 212, 22), p.ellipse(262, 128, 538, 178))
    p.paint(lid, p.across(236, 564, _round("#16181b", "#2b2f34", "#7b828a")))
    p.paint(p.ellipse(268, 132, 532, 172), p.down(132, 172, [(0, "#5d646c"), (1, "#272a2f")]))
    p.paint(p.rounded(372, 142, 428, 154, 6), "#0c0d0f")
    p.gloss(p.polygon([(318, 230), (342, 230), (352, 340), (330, 340)]), body, 0.5, 5)
    return p.image


def sneaker() -> Image.Image:
    """Draw a red running shoe from the side."""
    p = Picture(1000, 760, "#f8f7f5", "#eae8e4")
    p.shadow(120, 560, 900, 640)
    upper = p.blob(
        (180, 330), (214, 240), (262, 212), (330, 236), (400, 240), (470, 216), (540, 268), (640, 344),
        (760, 392), (852, 440), (876, 510), (860, 560), (520, 574), (190, 562), (160, 470),
    )  # fmt: skip
    p.paint(upper, p.down(210, 570, [(0, "#e4574c"), (0.45, "#c9302c"), (1, "#8d1a1d")]))
    toe = p.blob((730, 384), (800, 404), (862, 448), (884, 520), (860, 566), (700, 570), (690, 470))
    p.paint(ImageChops.multiply(toe, upper), p.down(390, 570, [(0, "#b12a2a"), (1, "#6f1316")]))
    heel = p.blob((168, 330), (210, 262), (262, 300), (270, 430), (250, 560), (150, 560), (140, 430))
    p.paint(ImageChops.multiply(heel, upper), p.down(260, 560, [(0, "#a52327"), (1, "#661115")]))
    p.paint(
        p.blob((222, 250), (262, 224), (330, 248), (400, 252), (468, 228), (440, 268), (340, 290), (250, 276)),
        "#4a0d10",
    )
    p.paint(p.blob((290, 500), (430, 410), (560, 392), (470, 470), (560, 470), (430, 520), (330, 530)), "#fbe9d7")
    for step in range(5):
        x, y = 476 + 46 * step, 262 + 30 * step
        p.paint(p.stroke(13, (x, y + 44), (x + 34, y - 8)), "#5e0f12", 0.5)
        p.paint(
            p.stroke(11, (x - 2, y + 38), (x + 32, y - 12)), p.down(y - 20, y + 50, [(0, "#f6d9a4"), (1, "#c99a5c")])
        )
    p.gloss(p.blob((560, 330), (680, 384), (780, 420), (760, 440), (640, 404), (560, 356)), upper, 0.45, 9)
    sole = p.blob(
        (140, 548), (220, 560), (420, 570), (640, 566), (820, 546), (896, 522), (908, 560), (880, 602),
        (700, 616), (420, 618), (200, 616), (142, 600),
    )  # fmt: skip
    p.paint(sole, p.down(530, 618, [(0, "#4c525c"), (0.35, "#343942"), (1, "#14161a")]))
    p.paint(p.stroke(9, (150, 570), (420, 586), (660, 582), (894, 546)), "#f2b43c")
    for x in range(180, 870, 46):
        p.paint(
            ImageChops.multiply(p.polygon([(x, 602), (x + 20, 602), (x + 14, 625), (x + 6, 625)]), sole), "#08090a", 0.7
        )
    return p.image


def bottle() -> Image.Image:
    """Draw a bottle of olive oil."""
    p = Picture(700, 1000, "#f6f7f4", "#e7e9e3")
    p.shadow(190, 880, 560, 940)
    outline = _mirrored(
        (350, 120), (384, 122), (387, 300), (392, 332), (404, 362), (440, 404), (466, 436), (481, 468), (486, 506),
        (486, 880), (482, 898), (470, 908), (350, 914), about=350,
    )  # fmt: skip
    glass = p.polygon(outline)
    p.paint(glass, p.across(214, 486, _round("#1c2b0c", "#44611a", "#a9c04e")))
    p.gloss(p.rounded(232, 470, 250, 880, 9), glass, 0.75, 5)
    p.gloss(p.rounded(322, 180, 334, 340, 6), glass, 0.7, 3)
    p.gloss(p.rounded(440, 460, 480, 900, 9), glass, 0.35, 12, "#d9e88a")
    cap = p.rounded(306, 84, 394, 190, 12)
    p.paint(cap, p.across(306, 394, _round("#5b4312", "#a98429", "#f3dc8c")))
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


def backpack() -> Image.Image:
    """Draw a blue backpack with leather straps."""
    p = Picture(800, 900, "#f7f6f8", "#e9e7eb")
    p.shadow(190, 770, 620, 840)
    p.paint(p.rounded(350, 92, 450, 180, 34), p.across(350, 450, _round("#4d2f17", "#84532c", "#b98552")))
    body = p.blob(
        (258, 250), (300, 160), (400, 132), (500, 160), (542, 250), (568, 480), (574, 720), (540, 800), (400, 812),
        (260, 800), (226, 720), (232, 480),
    )  # fmt: skip
    for side in (-1, 1):
        pocket = p.blob(*((400 + side * x, y) for x, y in ((150, 520), (196, 548), (206, 700), (186, 780), (150, 786))))
        p.paint(pocket, p.across(200, 600, [(0, "#122a4d"), (0.5, "#1f4278"), (1, "#0d1f3a")]))
    p.paint(
        body,
        p.across(226, 574, [(0, "#163259"), (0.22, "#3767a6"), (0.4, "#4a7fc1"), (0.72, "#254d85"), (1, "#10264a")]),
    )
    p.gloss(p.polygon([(226, 690), (574, 690), (574, 815), (226, 815)]), body, 0.45, 40, "#071224")
    flap = p.blob(
        (250, 256),
        (296, 168),
        (400, 140),
        (504, 168),
        (550, 256),
        (560, 400),
        (520, 448),
        (400, 458),
        (280, 448),
        (240, 400),
    )
    p.gloss(p.blob((246, 300), (554, 300), (566, 424), (400, 482), (234, 424)), body, 0.5, 12, "#071224")
    p.paint(
        flap,
        p.across(240, 560, [(0, "#1b3d6d"), (0.25, "#4577b8"), (0.42, "#5d92d3"), (0.75, "#2c5896"), (1, "#142e57")]),
    )
    p.gloss(p.ellipse(300, 160, 470, 230), flap, 0.3, 24)
    pocket = p.rounded(272, 540, 528, 750, 36)
    p.gloss(p.rounded(264, 536, 536, 764, 40), body, 0.4, 8, "#071224")
    p.paint(pocket, p.across(272, 528, [(0, "#1c4073"), (0.3, "#4072b4"), (0.7, "#28528e"), (1, "#15305a")]))
    p.paint(p.stroke(4, (292, 582), (508, 582)), "#c9d7ea", 0.8)
    for x in (318, 462):
        p.paint(
            p.rounded(x, 330, x + 24, 560, 8), p.across(x, x + 24, [(0, "#6b4122"), (0.4, "#b5804c"), (1, "#5c381c")])
        )
        p.paint(without(p.rounded(x - 8, 470, x + 32, 512, 8), p.rounded(x - 1, 478, x + 25, 504, 4)), "#e6cf92")
        p.paint(p.stroke(4, (x + 12, 474), (x + 12, 508)), "#b89a55")
    return p.image


def lamp() -> Image.Image:
    """Draw a table lamp with a coral shade, lit."""
    p = Picture(760, 940, "#f8f6f3", "#ebe7e1")
    p.shadow(230, 820, 540, 880)
    p.paint(p.rounded(370, 420, 390, 640, 8), p.across(370, 390, _round("#5b4312", "#a98429", "#f6e3a0")))
    base = p.polygon(
        curve(
            _mirrored(
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
    p.paint(joined(base, p.ellipse(316, 826, 444, 862)), p.across(274, 486, _round("#17353f", "#2d6474", "#8fc4cf")))
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


def watch() -> Image.Image:
    """Draw a wrist watch, laid flat."""
    p = Picture(700, 1000, "#f6f6f6", "#e9e9e9")
    p.paint(soft(p.rounded(268, 80, 452, 940, 40), 24), "#5a6070", 0.1)
    for top, bottom, narrow in ((60, 360, 60), (640, 945, 945)):
        wide = 360 if narrow < 100 else 640
        strap = p.polygon([(276, wide), (424, wide), (406, narrow), (294, narrow)])
        strap = joined(strap, p.ellipse(294, narrow - 26, 406, narrow + 26))
        p.paint(
            strap,
            p.across(
                276, 424, [(0, "#4a2712"), (0.2, "#90562d"), (0.45, "#a9703f"), (0.85, "#6c3c1c"), (1, "#3c1e0c")]
            ),
        )
        for x in (300, 400):
            for y in range(top + 20, bottom - 10, 22):
                slant = (x - 350) * (abs(y - wide) / 300) * 0.18
                p.paint(p.stroke(3, (x - slant, y), (x - slant, y + 11)), "#e4c79d", 0.8)
    for y in (760, 806, 852, 898):
        p.paint(p.ellipse(344, y, 356, y + 14), "#2a1408")
    p.paint(p.rounded(548, 478, 584, 522, 10), p.down(478, 522, [(0, "#f0f2f4"), (0.5, "#8b9298"), (1, "#40454a")]))
    p.paint(
        p.ellipse(148, 298, 552, 702),
        p.down(298, 702, [(0, "#7c848b"), (0.4, "#c8ced3"), (0.6, "#5f666d"), (1, "#a2aab0")]),
    )
    p.paint(p.ellipse(160, 310, 540, 690), p.across(160, 540, [(0, "#43494f"), (0.4, "#a9b1b7"), (1, "#33383d")]))
    dial = p.ellipse(178, 328, 522, 672)
    p.paint(dial, p.down(328, 672, [(0, "#1d3f63"), (0.5, "#122c48"), (1, "#0a1b2e")]))
    for hour in range(60):
        turn = math.radians(hour * 6)
        inner, width, colour = (128, 9, "#f4e7c5") if hour % 5 == 0 else (148, 2.5, "#9fb2c6")
        ends = [(350 + r * math.sin(turn), 500 - r * math.cos(turn)) for r in (inner, 154)]
        p.paint(p.stroke(width, *ends), colour)
    for angle, length, width, colour in ((306, 84, 13, "#f4e7c5"), (54, 122, 9, "#f4e7c5"), (192, 134, 3, "#ef6a4d")):
        turn = math.radians(angle)
        tip = (350 + length * math.sin(turn), 500 - length * math.cos(turn))
        tail = (350 - 24 * math.sin(turn), 500 + 24 * math.cos(turn))
        p.gloss(p.stroke(width, (tail[0] + 5, tail[1] + 7), (tip[0] + 5, tip[1] + 7)), dial, 0.6, 3, "black")
        p.paint(p.stroke(width, tail, tip), colour)
    p.paint(p.ellipse(340, 490, 360, 510), "#ef6a4d")
    p.gloss(p.blob((200, 440), (260, 360), (360, 338), (300, 420), (220, 520)), dial, 0.22, 12)
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
    p.paint(pot, p.across(300, 560, _round("#7d351a", "#b95a34", "#e79a72")))
    p.gloss(p.polygon([(300, 640), (560, 640), (556, 690), (304, 690)]), pot, 0.5, 10, "#3f170a")
    rim = p.rounded(284, 592, 576, 662, 14)
    p.paint(rim, p.across(284, 576, _round("#86391c", "#c5643c", "#f0a77f")))
    return p.image


def headphones() -> Image.Image:
    """Draw headphones from the front."""
    p = Picture(900, 860, "#f6f6f9", "#e8e8ee")
    p.shadow(170, 730, 350, 780)
    p.shadow(550, 730, 730, 780)
    arc = [(450 + 236 * math.sin(math.radians(t)), 400 - 250 * math.cos(math.radians(t))) for t in range(-96, 97, 8)]
    band = p.stroke(54, *arc)
    p.paint(
        band,
        p.across(190, 710, [(0, "#2b2540"), (0.3, "#6a5d96"), (0.5, "#8d7fbd"), (0.75, "#4b4170"), (1, "#231d36")]),
    )
    inner = [(450 + 212 * math.sin(math.radians(t)), 402 - 226 * math.cos(math.radians(t))) for t in range(-60, 61, 6)]
    p.paint(p.stroke(20, *inner), p.down(170, 330, [(0, "#3a3354"), (1, "#191526")]))
    p.gloss(p.stroke(8, *[(x, y - 14) for x, y in arc[8:15]]), band, 0.6, 4)
    for side in (-1, 1):
        middle = 450 + side * 224
        p.paint(p.rounded(middle - 14 + side * 12, 380, middle + 14 + side * 12, 520, 10), "#b9bec8")
        cushion = p.rounded(middle - 36 - side * 40, 440, middle + 36 - side * 40, 750, 36)
        p.paint(cushion, p.down(440, 750, [(0, "#4a4458"), (0.5, "#2a2635"), (1, "#131118")]))
        cup = p.rounded(middle - 46 + side * 14, 424, middle + 46 + side * 14, 764, 46)
        left = middle - 46 + side * 14
        p.paint(
            cup,
            p.across(
                left, left + 92, [(0, "#3a3160"), (0.3, "#8879c0"), (0.5, "#a99be0"), (0.8, "#52477f"), (1, "#2c2547")]
            ),
        )
        p.gloss(p.polygon([(left, 640), (left + 92, 640), (left + 92, 770), (left, 770)]), cup, 0.45, 36, "#0d0a18")
        p.gloss(p.rounded(left + 28, 450, left + 40, 600, 6), cup, 0.7, 4)
        p.paint(p.ellipse(left + 36, 650, left + 56, 670), "#f0a74a")
    return p.image


def camera() -> Image.Image:
    """Draw a camera with its lens to the front."""
    p = Picture(1000, 800, "#f5f6f7", "#e7e9eb")
    p.shadow(110, 620, 890, 690)
    p.paint(p.rounded(210, 196, 310, 262, 10), p.across(210, 310, _round("#4b5157", "#8d949b", "#dfe3e6")))
    p.paint(p.rounded(690, 206, 800, 262, 10), p.across(690, 800, _round("#4b5157", "#8d949b", "#dfe3e6")))
    p.paint(p.rounded(726, 184, 764, 214, 8), "#c8432f")
    p.paint(
        p.polygon([(390, 250), (424, 168), (576, 168), (610, 250)]), p.down(168, 250, [(0, "#a4abb1"), (1, "#5d646a")])
    )
    body = p.rounded(130, 240, 870, 660, 44)
    p.paint(
        body,
        p.down(
            240,
            660,
            [(0, "#8d949a"), (0.22, "#747b82"), (0.24, "#24272b"), (0.8, "#1a1c20"), (0.82, "#6d747a"), (1, "#3f444a")],
        ),
    )
    for x in range(150, 860, 18):
        for y in range(346, 570, 18):
            p.image.putpixel((x + (y // 18 % 2) * 9, y), (66, 70, 76))
    p.gloss(p.rounded(150, 244, 840, 256, 6), body, 0.6, 5)
    p.gloss(p.polygon([(130, 240), (230, 240), (170, 660), (130, 660)]), body, 0.25, 30)
    p.gloss(p.ellipse(300, 290, 740, 700), body, 0.6, 24, "black")
    rings = (
        (206, "#2f3337", "#0d0e10"), (192, "#5a6066", "#22262a"), (176, "#16181b", "#3a3f44"),
        (140, "#0b0c0e", "#26292d"), (112, "#1b2140", "#0a0d1c"), (82, "#3b2a63", "#0f1230"), (52, "#1a3f6b", "#070a18"),
    )  # fmt: skip
    for radius, above, below in rings:
        disc = p.ellipse(510 - radius, 460 - radius, 510 + radius, 460 + radius)
        p.paint(disc, p.down(460 - radius, 460 + radius, [(0, above), (1, below)]))
    lens = p.ellipse(398, 348, 622, 572)
    p.gloss(p.blob((440, 420), (480, 372), (530, 366), (490, 404), (456, 450)), lens, 0.75, 6, "#d8e6ff")
    p.gloss(p.ellipse(550, 500, 590, 536), lens, 0.5, 7, "#a58be0")
    p.paint(p.rounded(450, 188, 550, 232, 6), "#15171a")
    p.gloss(
        p.polygon([(456, 192), (500, 192), (480, 228), (456, 228)]),
        p.rounded(450, 188, 550, 232, 6),
        0.35,
        4,
        "#9fc6ff",
    )
    p.paint(p.ellipse(180, 280, 204, 304), "#e2543d")
    return p.image
