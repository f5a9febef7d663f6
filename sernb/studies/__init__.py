"""The two published studies: their networks, faults and claims."""

from sernb.studies.crema_1d_vs_2d import AS_PUBLISHED
from sernb.studies.crema_1d_vs_2d import FAULTS
from sernb.studies.crema_1d_vs_2d import NETWORKS
from sernb.studies.crema_1d_vs_2d import NetworkConfig
from sernb.studies.crema_1d_vs_2d import check_network_names
from sernb.studies.crema_1d_vs_2d import constant_validation
from sernb.studies.crema_1d_vs_2d import fault_table
from sernb.studies.crema_1d_vs_2d import listing_order
from sernb.studies.crema_1d_vs_2d import padded_length
from sernb.studies.crema_1d_vs_2d import resolve_faults
from sernb.studies.crema_1d_vs_2d import study_a_network
from sernb.studies.zisad2020 import MIN_INPUT_SIZE
from sernb.studies.zisad2020 import OUTPUT_ACTIVATIONS
from sernb.studies.zisad2020 import TOLERANCE
from sernb.studies.zisad2020 import best_recipe_runs
from sernb.studies.zisad2020 import claim_verdict
from sernb.studies.zisad2020 import claimed_scores
from sernb.studies.zisad2020 import compare_with_claims
from sernb.studies.zisad2020 import paper_cnn
from sernb.studies.zisad2020 import row_normalised_crossentropy
from sernb.studies.zisad2020 import verdict_table
