"""Images in batches, on the device: transforms, augmentation with masks and boxes in step, grids, drawing.

Plain functions (`hflip`, `resize`, `adjust_hue`, ...) take one image or a batch and draw no chance. Random transforms
(`RandomCrop`, `ColorJitter`, ...) take a batch and a seed for each row; `Augment` chains them. Images are float32 in
[0, 1] or uint8, channels first. Coordinates are continuous: the pixel in row r and column c covers
[c, c+1) x [r, r+1).

Used by run and the root modules. Nothing here trains, or reads image files.
"""

from lumbre.vision._color import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    convert_image_dtype,
    grayscale,
    normalize,
    rgb_to_grayscale,
)
from lumbre.vision._compose import Augment, RandomApply, RandomChoice, RandomOrder
from lumbre.vision._draw import draw_boxes, draw_keypoints, draw_masks, image_grid
from lumbre.vision._fixed import CenterCrop, Crop, Grayscale, Lambda, Normalize, Pad, Resize, ToFloat
from lumbre.vision._geometry import (
    affine,
    center_crop,
    crop,
    hflip,
    linear_transformation,
    pad,
    perspective,
    resize,
    resized_crop,
    rotate,
    vflip,
)
from lumbre.vision._kornia import FromKornia
from lumbre.vision._pictures import to_pillow, to_tensor
from lumbre.vision._random_moves import (
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from lumbre.vision._random_pixels import ColorJitter, FrequencyMask, RandomErasing, RandomGrayscale, TimeMask
from lumbre.vision._rows import derived, row_seeds, uniform
from lumbre.vision._scene import Scene, Transform
from lumbre.vision._tiles import Tiles, five_crop, sahi_crop, ten_crop

__all__ = [
    "Augment",
    "CenterCrop",
    "ColorJitter",
    "Crop",
    "FrequencyMask",
    "FromKornia",
    "Grayscale",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "Scene",
    "Tiles",
    "TimeMask",
    "ToFloat",
    "Transform",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "affine",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "derived",
    "draw_boxes",
    "draw_keypoints",
    "draw_masks",
    "five_crop",
    "grayscale",
    "hflip",
    "image_grid",
    "linear_transformation",
    "normalize",
    "pad",
    "perspective",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "row_seeds",
    "sahi_crop",
    "ten_crop",
    "to_pillow",
    "to_tensor",
    "uniform",
    "vflip",
]
__dir__ = __all__.copy  # names for dir() and tab completion
