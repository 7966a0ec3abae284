"""Four data sets of the kinds that people have: products, stamps, photos with captions, news.

`python tests/helpers/own_data.py FOLDER [FLICKR8K]` writes them, with photos of Flickr8k where its folder is given.
All other images are drawn.
"""

from __future__ import annotations

import csv
import itertools
import json
import random
import shutil
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

COLOURS = {
    "red": ("rot", "rouge", "#c8202a"),
    "blue": ("blau", "bleu", "#2448b8"),
    "green": ("grün", "vert", "#2a8a3a"),
    "yellow": ("gelb", "jaune", "#e8c020"),
    "black": ("schwarz", "noir", "#202020"),
    "pink": ("rosa", "rose", "#e890b0"),
}
SIZE = 160


def _shirt(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.polygon(
        [(40, 40), (120, 40), (150, 70), (132, 88), (116, 74), (116, 138), (44, 138), (44, 74), (28, 88), (10, 70)],
        fill,
    )


def _trousers(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.polygon([(50, 20), (110, 20), (122, 146), (92, 146), (80, 60), (68, 146), (38, 146)], fill)


def _dress(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.polygon([(60, 16), (100, 16), (96, 66), (136, 146), (24, 146), (64, 66)], fill)


def _shoe(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.polygon([(20, 70), (60, 60), (90, 90), (145, 100), (150, 122), (20, 122)], fill)
    draw.rectangle((20, 122, 150, 130), "#806040")


def _bag(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.arc((50, 20, 110, 100), 180, 360, fill, 8)
    draw.rounded_rectangle((24, 66, 136, 140), 10, fill)


def _hat(draw: ImageDraw.ImageDraw, fill: str) -> None:
    draw.ellipse((10, 96, 150, 126), fill)
    draw.pieslice((44, 40, 116, 170), 180, 360, fill)


GARMENTS: dict[str, tuple[str, str, Callable[[ImageDraw.ImageDraw, str], None]]] = {
    "shirt": ("T-Shirt", "t-shirt", _shirt),
    "trousers": ("Hose", "pantalon", _trousers),
    "dress": ("Kleid", "robe", _dress),
    "shoe": ("Schuh", "chaussure", _shoe),
    "bag": ("Handtasche", "sac à main", _bag),
    "hat": ("Hut", "chapeau", _hat),
}


def fashion(root: Path, items: int = 216, seed: int = 0) -> Path:
    """Products with several classes each, part numbers, and German and French words between the English ones."""
    chance = random.Random(seed)
    kinds = list(itertools.product(GARMENTS, COLOURS, ("plain", "striped")))
    rows = []
    for number in range(items):
        garment, colour, pattern = kinds[number % len(kinds)]
        german, french, draw = GARMENTS[garment]
        auf_deutsch, en_francais, fill = COLOURS[colour]
        image = Image.new("RGB", (SIZE, SIZE), chance.choice(("white", "#f0f0f0", "#f8f4ec")))
        draw(ImageDraw.Draw(image), fill)
        if pattern == "striped":
            _stripe(image, fill, chance.randint(10, 22))
        image = image.rotate(chance.uniform(-8, 8), fillcolor=image.getpixel((0, 0)))
        name = f"products/{garment}_{number:04d}.jpg"
        _save(image, root / name)
        part = f"{garment[:2].upper()}-{chance.randint(1000, 9999)}/{colour[0].upper()}"
        text = chance.choice(
            (
                f"{pattern} {colour} {garment}, Art.-Nr. {part}",
                f"{german}, {auf_deutsch}, {'gestreift' if pattern == 'striped' else 'einfarbig'} ({part})",
                f"{french} {en_francais} {'à rayures' if pattern == 'striped' else 'uni'}, réf. {part}",
            )
        )
        rows.append((name, text, f"{garment};{colour};{pattern}"))
    return _write(root, ("file_name", "text", "labels"), rows)


COUNTRIES = ("Helvetia", "Deutsches Reich", "Österreich", "Magyarország", "Suomi", "Danmark")
MOTIFS = ("post horn", "mountain", "ship", "crown", "star")


def stamps(root: Path, items: int = 111, seed: int = 0) -> Path:
    """Few pairs, with one caption each and no classes."""
    chance = random.Random(seed)
    rows = []
    for number in range(items):
        colour = chance.choice(list(COLOURS))
        country, motif, value = chance.choice(COUNTRIES), chance.choice(MOTIFS), chance.choice((1, 2, 5, 10, 20, 50))
        year = chance.randint(1900, 1960)
        image = Image.new("RGB", (130, SIZE), "#f4ecd8")
        draw = ImageDraw.Draw(image)
        draw.rectangle((10, 10, 120, 150), outline=COLOURS[colour][2], width=6)
        _draw_motif(draw, motif, COLOURS[colour][2])
        draw.text((24, 18), unicodedata.normalize("NFD", country).encode("ascii", "ignore").decode(), "black")
        draw.text((90, 126), str(value), "black", font_size=20)
        draw.text((22, 134), str(year), "black")
        for edge in range(0, SIZE, 10):
            draw.ellipse((-3, edge, 3, edge + 6), "white")
            draw.ellipse((127, edge, 133, edge + 6), "white")
        name = f"scan {number:03d}.png"
        _save(image, root / name)
        rows.append((name, f"{value} {colour}, {motif}, {country} {year}"))
    return _write(root, ("file_name", "caption"), rows)


def coco(root: Path, photos: Path, items: int = 400) -> Path:
    """Photos and captions of Flickr8k in the files of MS-COCO: several captions per image, no classes."""
    captions: dict[str, list[str]] = {}
    for line in (photos / "Flickr8k_text/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition("\t")
        captions.setdefault(name.partition("#")[0], []).append(text)
    names = [name for name in captions if (photos / "Flicker8k_Dataset" / name).is_file()][:items]
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(photos / "Flicker8k_Dataset" / name, root / "images" / name)
    images = [{"id": number, "file_name": name, "width": 224, "height": 224} for number, name in enumerate(names)]
    pairs = [(number, text) for number, name in enumerate(names) for text in captions[name]]
    annotations = [{"id": place, "image_id": number, "caption": text} for place, (number, text) in enumerate(pairs)]
    (root / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return root


NEWS = {
    "体育": (
        ("主场", "客场", "昨晚"),
        ("球队", "中国女排", "国家队"),
        ("赢得冠军", "遗憾落败", "以三比一获胜", "进入决赛"),
    ),
    "财经": (
        ("今日", "本周", "第三季度"),
        ("股市", "人民币汇率", "房价"),
        ("大幅上涨", "小幅下跌", "创下新高", "保持稳定"),
    ),
    "科技": (
        ("新一代", "国产", "全球首款"),
        ("芯片", "手机", "人工智能模型"),
        ("正式发布", "开始量产", "通过测试", "即将上市"),
    ),
    "娱乐": (
        ("著名导演", "青年演员", "知名歌手"),
        ("新电影", "演唱会", "电视剧"),
        ("周末上映", "门票售罄", "广受好评", "获得大奖"),
    ),
}


def news(root: Path, items: int = 200, seed: int = 0) -> Path:
    """Chinese texts with classes."""
    chance = random.Random(seed)
    rows = []
    for number in range(items):
        topic = list(NEWS)[number % len(NEWS)]
        first, second, third = map(chance.choice, NEWS[topic])
        image = Image.new("RGB", (SIZE, SIZE), chance.choice(("#e8eef8", "#f8f0e0", "#ecf4e8")))
        _draw_topic(ImageDraw.Draw(image), topic, chance)
        name = f"图片/新闻{number:04d}.jpg"
        _save(image, root / name)
        rows.append((name, f"{first}{second}{third}", topic))
    return _write(root, ("file_name", "text", "label"), rows)


def _stripe(image: Image.Image, fill: str, step: int) -> None:
    stripes = Image.new("RGB", image.size, "white")
    plain = Image.new("RGB", image.size, image.getpixel((0, 0)))
    covered = ImageChops.difference(image, plain).convert("L").point(lambda value: 255 if value else 0)
    draw = ImageDraw.Draw(stripes)
    for top in range(0, SIZE, step):
        draw.rectangle((0, top, SIZE, top + step // 2), fill)
    image.paste(stripes, mask=covered)


def _draw_motif(draw: ImageDraw.ImageDraw, motif: str, fill: str) -> None:
    match motif:
        case "post horn":
            draw.arc((35, 50, 95, 110), 0, 300, fill, 10)
            draw.polygon([(90, 70), (110, 55), (110, 95)], fill)
        case "mountain":
            draw.polygon([(25, 115), (60, 50), (80, 85), (90, 70), (110, 115)], fill)
        case "ship":
            draw.polygon([(25, 90), (105, 90), (90, 115), (40, 115)], fill)
            draw.polygon([(65, 45), (65, 85), (95, 85)], fill)
        case "crown":
            draw.polygon([(30, 110), (30, 60), (48, 85), (65, 50), (82, 85), (100, 60), (100, 110)], fill)
        case _:
            draw.regular_polygon((65, 82, 35), 5, fill=fill)


def _draw_topic(draw: ImageDraw.ImageDraw, topic: str, chance: random.Random) -> None:
    left, top = chance.randint(20, 50), chance.randint(20, 50)
    match topic:
        case "体育":
            draw.rectangle((0, 110, SIZE, SIZE), "#3a9a3a")
            draw.ellipse((left, top, left + 80, top + 80), "white", "black", 4)
            draw.regular_polygon((left + 40, top + 40, 16), 5, fill="black")
        case "财经":
            heights = [chance.randint(20, 110) for _ in range(6)]
            for place, height in enumerate(heights):
                colour = chance.choice(("#c02020", "#208040"))
                draw.rectangle((15 + 23 * place, 145 - height, 30 + 23 * place, 145), colour)
        case "科技":
            draw.rectangle((left, top, left + 80, top + 80), "#303840")
            for step in range(8, 80, 16):
                draw.line((left - 12, top + step, left, top + step), "#a0a0a0", 5)
                draw.line((left + 80, top + step, left + 92, top + step), "#a0a0a0", 5)
        case _:
            draw.rectangle((left, top, left + 90, top + 60), "#181818")
            for step in range(6, 90, 14):
                draw.rectangle((left + step, top + 4, left + step + 7, top + 12), "white")
                draw.rectangle((left + step, top + 48, left + step + 7, top + 56), "white")
            draw.polygon([(left + 35, top + 18), (left + 35, top + 42), (left + 60, top + 30)], "#f0c030")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _write(root: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return root


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for make in (fashion, stamps, news):
        make(folder / make.__name__)
    if len(sys.argv) > 2:
        coco(folder / "coco", Path(sys.argv[2]))
