#!/usr/bin/env python3
"""Records the reference pictures and numbers of this folder: record_image.py [FOLDER].

Needs Pillow 13, numpy, scikit-image and OpenCV; metrics.json holds what cache-dit's metrics.py computes with them.
"""

import json
import os
import sys

import cv2
import numpy as np
from PIL import Image, ImageOps
from skimage.metrics import mean_squared_error, structural_similarity

folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
os.chdir(folder)
rng = np.random.default_rng(20)

# Slopes, edges and noise: what makes filters and rounding visible.
y, x = np.mgrid[0:18, 0:26]
pixels = np.stack([x * 9, y * 13, (x + y) * 5], axis=2) + rng.normal(0, 6, (18, 26, 3))
pixels[4:11, 7:19] = rng.choice([0, 255], (7, 12, 3))
picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
picture.save("source.png")

FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
for name, filter in FILTERS.items():
    for size in [(13, 9), (41, 30), (11, 33), (33, 5)]:
        picture.resize(size, filter).save(f"{name}.{size[0]}x{size[1]}.png")


def decoded(name):
    ImageOps.exif_transpose(Image.open(name)).convert("RGB").save(f"{name}.expected.png")


alpha = picture.convert("RGBA")
alpha.putalpha(Image.fromarray(rng.integers(0, 256, (18, 26)).astype(np.uint8)))
alpha.save("alpha.png")
picture.quantize(11).save("palette4.png")
picture.convert("1").save("bilevel.png")
Image.fromarray((rng.integers(0, 600, (18, 26))).astype(np.uint16)).save("gray16.png")
picture.save("photo.jpg", quality=90)
picture.save("progressive.jpg", quality=60, progressive=True)
picture.convert("L").save("gray.jpg")
picture.convert("CMYK").save("cmyk.jpg")
alpha.save("lossless.webp", lossless=True, exact=True)
picture.save("lossy.webp", quality=70)
for name in ["alpha.png", "palette4.png", "bilevel.png", "gray16.png", "photo.jpg", "progressive.jpg", "gray.jpg", "cmyk.jpg",
             "lossless.webp", "lossy.webp"]:
    decoded(name)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    name = f"turned{orientation}." + ("webp" if orientation == 6 else "png" if orientation == 5 else "jpg")
    picture.save(name, exif=exif)
    decoded(name)

metrics = {}
for name, sigma in {"near": 2, "far": 40}.items():
    noisy = np.asarray(picture) + rng.normal(0, sigma, (18, 26, 3))
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(f"{name}.png")
    a, b = cv2.imread("source.png"), cv2.imread(f"{name}.png")
    # cache-dit's own PSNR, in 8 bits as it computes it, and the plain one
    wrapped, mse = np.mean((a - b) ** 2), mean_squared_error(a, b)
    metrics[name] = {
        "mse": mse,
        "psnr": 20 * np.log10(255.0 / np.sqrt(mse)),
        "psnr_wrapped": 20 * np.log10(255.0 / np.sqrt(wrapped)),
        "ssim": structural_similarity(a, b, multichannel=True, channel_axis=2),
    }
with open("metrics.json", "w") as f:
    json.dump(metrics, f, indent=1)
    f.write("\n")
