"""The tools of every codec: bumps on maps and on axes, where they peak, and where between the pixels their top is."""
from posebook.codecs.utils.bumps import (bump_distances, bump_rows, generate_gaussian_heatmaps,
                                         generate_offset_heatmap, generate_udp_gaussian_heatmaps,
                                         generate_unbiased_gaussian_heatmaps, outer_maps, over_zeros,
                                         products)
from posebook.codecs.utils.peaks import (get_heatmap_maximum, get_simcc_maximum, is_usual,
                                         without_infinite, without_overflow)
from posebook.codecs.utils.refinement import (blur_maps, blur_matrix, blur_rows, blurred_around,
                                              gaussian_blur, gaussian_blur1d, newton_step, odd_width,
                                              refine_keypoints, refine_keypoints_dark,
                                              refine_keypoints_dark_udp, refine_simcc_dark,
                                              scaled_logs)

__all__ = ['blur_maps', 'blur_matrix', 'blur_rows', 'blurred_around', 'bump_distances', 'bump_rows',
           'gaussian_blur', 'gaussian_blur1d', 'generate_gaussian_heatmaps',
           'generate_offset_heatmap', 'generate_udp_gaussian_heatmaps',
           'generate_unbiased_gaussian_heatmaps', 'get_heatmap_maximum', 'get_simcc_maximum',
           'is_usual', 'newton_step', 'odd_width', 'outer_maps', 'over_zeros', 'products', 'refine_keypoints',
           'refine_keypoints_dark', 'refine_keypoints_dark_udp', 'refine_simcc_dark', 'scaled_logs',
           'without_infinite', 'without_overflow']
