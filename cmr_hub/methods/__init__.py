"""The methods: one folder each, with configuration, model, recipe and README. A new one is listed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cmr_hub.utils.registry import Registry

if TYPE_CHECKING:
    from cmr_hub.modeling.modeling_cmr import CMRModel

# What people call a method's supervision.
LEARNS_FROM = {"supervised": "classes", "unsupervised": "pairs"}

# In the order in which the Space offers them: the one to start with first, baselines last; then those that give codes.
METHODS: Mapping[str, type[CMRModel]] = Registry(
    "method",
    {
        "dscmr": "cmr_hub.methods.dscmr.modeling_dscmr:DSCMRModel",
        "acmr": "cmr_hub.methods.acmr.modeling_acmr:ACMRModel",
        "idcmr": "cmr_hub.methods.idcmr.modeling_idcmr:IDCMRModel",
        "cm_gans": "cmr_hub.methods.cm_gans.modeling_cm_gans:CMGANsModel",
        "contrastive": "cmr_hub.methods.contrastive.modeling_contrastive:ContrastiveModel",
        "dan": "cmr_hub.methods.dan.modeling_dan:DANModel",
        "dspe": "cmr_hub.methods.dspe.modeling_dspe:DSPEModel",
        "dcca": "cmr_hub.methods.dcca.modeling_dcca:DCCAModel",
        "dae": "cmr_hub.methods.dae.modeling_dae:DAEModel",
        "dbm": "cmr_hub.methods.dbm.modeling_dbm:DBMModel",
        "semantic_matching": "cmr_hub.methods.semantic_matching.modeling_semantic_matching:SemanticMatchingModel",
        "scm_semantic": "cmr_hub.methods.scm_semantic.modeling_scm_semantic:SCMSemanticModel",
        "gma": "cmr_hub.methods.gma.modeling_gma:GMAModel",
        "cca": "cmr_hub.methods.cca.modeling_cca:CCAModel",
        "dscmr_hash": "cmr_hub.methods.dscmr_hash.modeling_dscmr_hash:DSCMRHashModel",
        "dcmh": "cmr_hub.methods.dcmh.modeling_dcmh:DCMHModel",
        "seph": "cmr_hub.methods.seph.modeling_seph:SePHModel",
        "scm": "cmr_hub.methods.scm.modeling_scm:SCMModel",
        "udcmh": "cmr_hub.methods.udcmh.modeling_udcmh:UDCMHModel",
        "djsrh": "cmr_hub.methods.djsrh.modeling_djsrh:DJSRHModel",
        "dbrc": "cmr_hub.methods.dbrc.modeling_dbrc:DBRCModel",
        "lssh": "cmr_hub.methods.lssh.modeling_lssh:LSSHModel",
        "stmh": "cmr_hub.methods.stmh.modeling_stmh:STMHModel",
        "cmfh": "cmr_hub.methods.cmfh.modeling_cmfh:CMFHModel",
        "imh": "cmr_hub.methods.imh.modeling_imh:IMHModel",
        "cvh": "cmr_hub.methods.cvh.modeling_cvh:CVHModel",
        "klsh": "cmr_hub.methods.klsh.modeling_klsh:KLSHModel",
        "isotropic": "cmr_hub.methods.isotropic.modeling_isotropic:IsotropicModel",
        "sh": "cmr_hub.methods.sh.modeling_sh:SHModel",
    },
)


@dataclass(frozen=True)
class MethodInfo:
    """What one line says of a method.

    Attributes:
        name: as `METHODS`, recipes and `model_type` have it.
        title: as people write it.
        paper: who, what, where and when.
        supervision: "supervised" where it learns from classes, "unsupervised" where from pairs alone.
        representation: "real-valued" or "binary".
    """

    name: str
    title: str
    paper: str
    supervision: str
    representation: str


def list_methods(pattern: str = "*") -> list[MethodInfo]:
    """The methods in this hub, sorted by name, those that match a shell-style pattern.

    Example:

    ```python
    >>> import cmr_hub
    >>> cmr_hub.list_methods("dscmr")
    [MethodInfo(name='dscmr', title='DSCMR', paper='Zhen et al., Deep Supervised Cross-Modal Retrieval, ...)]
    >>> "cca" in [method.name for method in cmr_hub.list_methods() if method.supervision == "unsupervised"]
    True
    ```
    """
    return [
        MethodInfo(name, model.title, model.paper, model.supervision, model.representation)
        for name, model in ((name, METHODS[name]) for name in METHODS.list(pattern))
    ]
