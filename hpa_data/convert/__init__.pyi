from . import estimate as estimate
from . import execute as execute
from . import plan as plan
from .estimate import estimate_conversion as estimate_conversion
from .execute import Conversion as Conversion
from .execute import convert_files as convert_files
from .plan import ConversionPlan as ConversionPlan
from .plan import plan_conversion as plan_conversion
