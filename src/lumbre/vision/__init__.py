"""Images in batches, on the device: transforms, augmentation with masks and boxes in step, grids, drawing.

Plain functions (`hflip`, `resize`, `adjust_hue`, ...) take one image or a batch and draw no chance. Random transforms
(`RandomCrop`, `ColorJitter`, ...) take a batch and a seed for each row; `Augment` chains them. Images are float32 in
[0, 1] or uint8, channels first. Coordinates are continuous: the pixel in row r and column c covers
[c, c+1) x [r, r+1).

Used by run and the root modules. Nothing here trains, or reads image files.
"""

from lumbre.vision._color import adjust_brightness as adjust_brightness
from lumbre.vision._color import adjust_contrast as adjust_contrast
from lumbre.vision._color import adjust_gamma as adjust_gamma
from lumbre.vision._color import adjust_hue as adjust_hue
from lumbre.vision._color import adjust_saturation as adjust_saturation
from lumbre.vision._color import convert_image_dtype as convert_image_dtype
from lumbre.vision._color import grayscale as grayscale
from lumbre.vision._color import normalize as normalize
from lumbre.vision._color import rgb_to_grayscale as rgb_to_grayscale
from lumbre.vision._compose import Augment as Augment
from lumbre.vision._compose import RandomApply as RandomApply
from lumbre.vision._compose import RandomChoice as RandomChoice
from lumbre.vision._compose import RandomOrder as RandomOrder
from lumbre.vision._draw import draw_boxes as draw_boxes
from lumbre.vision._draw import draw_keypoints as draw_keypoints
from lumbre.vision._draw import draw_masks as draw_masks
from lumbre.vision._draw import image_grid as image_grid
from lumbre.vision._fixed import CenterCrop as CenterCrop
from lumbre.vision._fixed import Crop as Crop
from lumbre.vision._fixed import Grayscale as Grayscale
from lumbre.vision._fixed import Lambda as Lambda
from lumbre.vision._fixed import Normalize as Normalize
from lumbre.vision._fixed import Pad as Pad
from lumbre.vision._fixed import Resize as Resize
from lumbre.vision._fixed import ToFloat as ToFloat
from lumbre.vision._geometry import affine as affine
from lumbre.vision._geometry import center_crop as center_crop
from lumbre.vision._geometry import crop as crop
from lumbre.vision._geometry import hflip as hflip
from lumbre.vision._geometry import linear_transformation as linear_transformation
from lumbre.vision._geometry import pad as pad
from lumbre.vision._geometry import perspective as perspective
from lumbre.vision._geometry import resize as resize
from lumbre.vision._geometry import resized_crop as resized_crop
from lumbre.vision._geometry import rotate as rotate
from lumbre.vision._geometry import vflip as vflip
from lumbre.vision._kornia import FromKornia as FromKornia
from lumbre.vision._pictures import to_pillow as to_pillow
from lumbre.vision._pictures import to_tensor as to_tensor
from lumbre.vision._random_moves import RandomAffine as RandomAffine
from lumbre.vision._random_moves import RandomCrop as RandomCrop
from lumbre.vision._random_moves import RandomHorizontalFlip as RandomHorizontalFlip
from lumbre.vision._random_moves import RandomPerspective as RandomPerspective
from lumbre.vision._random_moves import RandomResizedCrop as RandomResizedCrop
from lumbre.vision._random_moves import RandomRotation as RandomRotation
from lumbre.vision._random_moves import RandomVerticalFlip as RandomVerticalFlip
from lumbre.vision._random_pixels import ColorJitter as ColorJitter
from lumbre.vision._random_pixels import RandomErasing as RandomErasing
from lumbre.vision._random_pixels import RandomGrayscale as RandomGrayscale
from lumbre.vision._rows import derived as derived
from lumbre.vision._rows import row_seeds as row_seeds
from lumbre.vision._rows import uniform as uniform
from lumbre.vision._scene import Scene as Scene
from lumbre.vision._scene import Transform as Transform
from lumbre.vision._tiles import Tiles as Tiles
from lumbre.vision._tiles import five_crop as five_crop
from lumbre.vision._tiles import sahi_crop as sahi_crop
from lumbre.vision._tiles import ten_crop as ten_crop

__all__ = [
    "Augment",
    "CenterCrop",
    "ColorJitter",
    "Crop",
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
