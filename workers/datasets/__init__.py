"""Data sets: find the cases of a folder and read one of them. Imports no TensorFlow."""

from workers.datasets.brats20 import Brats20
from workers.datasets.bus2017 import Bus2017
from workers.datasets.busi import Busi
from workers.datasets.chase_db1 import ChaseDb1
from workers.datasets.cvc_clinicdb import CvcClinicDb
from workers.datasets.drive import Drive
from workers.datasets.idrid import Idrid
from workers.datasets.image_folder import ImageFolder, Nuclei
from workers.datasets.inspection import CheckReport, Problem, check
from workers.datasets.isic import Isic2017, Isic2018
from workers.datasets.kits19 import Kits19
from workers.datasets.msd import (
    MsdBrainTumour,
    MsdColon,
    MsdHeart,
    MsdHepaticVessel,
    MsdHippocampus,
    MsdLiver,
    MsdLung,
    MsdPancreas,
    MsdProstate,
    MsdSpleen,
)
from workers.datasets.nifti_folder import NiftiFolder
from workers.datasets.reader import About, Case, CaseFiles, Excluded, ExcludedCaseError, Reader, Table1Row
from workers.datasets.registry import get_reader, names, register
from workers.datasets.sheet import contact_sheet
from workers.datasets.synthetic import synthesise

register("cvc_clinicdb", CvcClinicDb)
register("drive", Drive)
register("bus2017", Bus2017)
register("brats20", Brats20)
register("kits19", Kits19)
register("chase_db1", ChaseDb1)
register("busi", Busi)
register("isic2017", Isic2017)
register("isic2018", Isic2018)
register("idrid", Idrid)
register("msd_brain_tumour", MsdBrainTumour)
register("msd_heart", MsdHeart)
register("msd_liver", MsdLiver)
register("msd_hippocampus", MsdHippocampus)
register("msd_prostate", MsdProstate)
register("msd_lung", MsdLung)
register("msd_pancreas", MsdPancreas)
register("msd_hepatic_vessel", MsdHepaticVessel)
register("msd_spleen", MsdSpleen)
register("msd_colon", MsdColon)
register("nuclei", Nuclei)
register("image-folder", ImageFolder)
register("nifti-folder", NiftiFolder)

__all__ = [
    "About",
    "Case",
    "CaseFiles",
    "CheckReport",
    "Excluded",
    "ExcludedCaseError",
    "ImageFolder",
    "NiftiFolder",
    "Nuclei",
    "Problem",
    "Reader",
    "Table1Row",
    "check",
    "contact_sheet",
    "get_reader",
    "names",
    "register",
    "synthesise",
]
