"""Every published figure that lbsim reproduces, one short file each: data first, then claims, then draw()."""

from experiments import (
    cheetah_pcc,
    cheetah_sim_beamer,
    cheetah_sim_dip,
    cheetah_sim_exact,
    cheetah_sim_imbalance,
    cheetah_sim_moving_buckets,
    cheetah_tradeoff,
    rsspp_fig1,
    rsspp_fig3,
    rsspp_fig10a,
    rsspp_fig10b,
    rsspp_fig11,
    rsspp_fig12a,
    rsspp_fig12b,
    rsspp_fig13,
    rsspp_fig14,
    rsspp_fig16,
    rsspp_fig17,
    rsspp_frontier,
    toeplitz,
)
from lbsim.study import Study

# Figures whose tables others need come first; figures on one trace stand together, so that it stays planned.
ALL: tuple[Study, ...] = (
    toeplitz.STUDY,
    rsspp_fig12b.STUDY,
    rsspp_fig10a.STUDY,
    rsspp_fig10b.STUDY,
    rsspp_fig13.STUDY,
    rsspp_fig14.STUDY,
    rsspp_fig11.STUDY,
    rsspp_fig17.STUDY,
    rsspp_frontier.STUDY,
    rsspp_fig12a.STUDY,
    rsspp_fig16.STUDY,
    rsspp_fig1.STUDY,
    rsspp_fig3.STUDY,
    cheetah_sim_exact.STUDY,
    cheetah_sim_imbalance.STUDY,
    cheetah_sim_dip.STUDY,
    cheetah_sim_moving_buckets.STUDY,
    cheetah_sim_beamer.STUDY,
    cheetah_tradeoff.STUDY,
    cheetah_pcc.STUDY,
)
