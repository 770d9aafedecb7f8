"""Five things to wear or carry that a shop sells, each drawn in the studio. The same pixels every time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import ImageChops

from rembg_watch.cli.studio import Picture, joined, roundness, soft, without

if TYPE_CHECKING:
    from PIL import Image


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


def backpack() -> Image.Image:
    """Draw a blue backpack with leather straps."""
    p = Picture(800, 900, "#f7f6f8", "#e9e7eb")
    p.shadow(190, 770, 620, 840)
    p.paint(p.rounded(350, 92, 450, 180, 34), p.across(350, 450, roundness("#4d2f17", "#84532c", "#b98552")))
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
    p.paint(p.rounded(210, 196, 310, 262, 10), p.across(210, 310, roundness("#4b5157", "#8d949b", "#dfe3e6")))
    p.paint(p.rounded(690, 206, 800, 262, 10), p.across(690, 800, roundness("#4b5157", "#8d949b", "#dfe3e6")))
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
        (140, "#0b0c0e", "#26292d"), (112, "#1b2140", "#0a0d1c"), (82, "#3b2a63", "#0f1230"),
        (52, "#1a3f6b", "#070a18"),
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
