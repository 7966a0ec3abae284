# Written by `python -m cmr_hub.stub`: do not edit.

from . import data as data
from . import encoders as encoders
from . import errors as errors
from . import evaluation as evaluation
from . import experiments as experiments
from . import hub as hub
from . import indexes as indexes
from . import methods as methods
from . import modeling as modeling
from . import processing as processing
from . import results as results
from . import retrieval as retrieval
from . import space as space
from . import training as training
from . import utils as utils
from .data import register_dataset
from .encoders import register_encoder
from .hub import list_checkpoints
from .indexes import register_index
from .indexes.quantizers.spreading_vectors import SpreadingVectorsConfig, SpreadingVectorsModel
from .methods import METHODS, list_methods, register_method
from .methods.acmr import ACMRConfig, ACMRModel
from .methods.cca import CCAConfig, CCAModel
from .methods.cm_gans import CMGANsConfig, CMGANsModel
from .methods.cmfh import CMFHConfig, CMFHModel
from .methods.contrastive import ContrastiveConfig, ContrastiveModel
from .methods.cvh import CVHConfig, CVHModel
from .methods.dae import DAEConfig, DAEModel
from .methods.dan import DANConfig, DANModel
from .methods.dbm import DBMConfig, DBMModel
from .methods.dbrc import DBRCConfig, DBRCModel
from .methods.dcca import DCCAConfig, DCCAModel
from .methods.dcmh import DCMHConfig, DCMHModel
from .methods.djsrh import DJSRHConfig, DJSRHModel
from .methods.dscmr import DSCMRConfig, DSCMRModel
from .methods.dscmr_hash import DSCMRHashConfig, DSCMRHashModel
from .methods.dspe import DSPEConfig, DSPEModel
from .methods.gma import GMAConfig, GMAModel
from .methods.idcmr import IDCMRConfig, IDCMRModel
from .methods.imh import IMHConfig, IMHModel
from .methods.isotropic import IsotropicConfig, IsotropicModel
from .methods.klsh import KLSHConfig, KLSHModel
from .methods.lssh import LSSHConfig, LSSHModel
from .methods.scm import SCMConfig, SCMModel
from .methods.scm_semantic import SCMSemanticConfig, SCMSemanticModel
from .methods.semantic_matching import SemanticMatchingConfig, SemanticMatchingModel
from .methods.seph import SePHConfig, SePHModel
from .methods.sh import SHConfig, SHModel
from .methods.stmh import STMHConfig, STMHModel
from .methods.udcmh import UDCMHConfig, UDCMHModel
from .methods.unified import UnifiedConfig, UnifiedModel
from .methods.unified_hash import UnifiedHashConfig, UnifiedHashModel
from .modeling.configuration_cmr import CMRConfig
from .modeling.configuration_hashing import HashingConfig
from .modeling.dual_encoder import DualEncoderConfig, DualEncoderModel
from .modeling.modeling_cmr import ClosedFormCMRModel, CMRModel, CMROutput
from .processing.processing_cmr import CMRProcessor
from .results.leaderboard import list_scores
from .retrieval.gallery import Gallery
from .retrieval.queries import Query, Term
from .retrieval.remote_gallery import RemoteGallery
from .retrieval.retriever import Retriever, from_pretrained
from .retrieval.search import Hit

__version__: str
__all__ = [
    "METHODS",
    "ACMRConfig",
    "ACMRModel",
    "CCAConfig",
    "CCAModel",
    "CMFHConfig",
    "CMFHModel",
    "CMGANsConfig",
    "CMGANsModel",
    "CMRConfig",
    "CMRModel",
    "CMROutput",
    "CMRProcessor",
    "CVHConfig",
    "CVHModel",
    "ClosedFormCMRModel",
    "ContrastiveConfig",
    "ContrastiveModel",
    "DAEConfig",
    "DAEModel",
    "DANConfig",
    "DANModel",
    "DBMConfig",
    "DBMModel",
    "DBRCConfig",
    "DBRCModel",
    "DCCAConfig",
    "DCCAModel",
    "DCMHConfig",
    "DCMHModel",
    "DJSRHConfig",
    "DJSRHModel",
    "DSCMRConfig",
    "DSCMRHashConfig",
    "DSCMRHashModel",
    "DSCMRModel",
    "DSPEConfig",
    "DSPEModel",
    "DualEncoderConfig",
    "DualEncoderModel",
    "GMAConfig",
    "GMAModel",
    "Gallery",
    "HashingConfig",
    "Hit",
    "IDCMRConfig",
    "IDCMRModel",
    "IMHConfig",
    "IMHModel",
    "IsotropicConfig",
    "IsotropicModel",
    "KLSHConfig",
    "KLSHModel",
    "LSSHConfig",
    "LSSHModel",
    "Query",
    "RemoteGallery",
    "Retriever",
    "SCMConfig",
    "SCMModel",
    "SCMSemanticConfig",
    "SCMSemanticModel",
    "SHConfig",
    "SHModel",
    "STMHConfig",
    "STMHModel",
    "SePHConfig",
    "SePHModel",
    "SemanticMatchingConfig",
    "SemanticMatchingModel",
    "SpreadingVectorsConfig",
    "SpreadingVectorsModel",
    "Term",
    "UDCMHConfig",
    "UDCMHModel",
    "UnifiedConfig",
    "UnifiedHashConfig",
    "UnifiedHashModel",
    "UnifiedModel",
    "from_pretrained",
    "list_checkpoints",
    "list_methods",
    "list_scores",
    "register_dataset",
    "register_encoder",
    "register_index",
    "register_method",
]
