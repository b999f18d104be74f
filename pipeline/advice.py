"""What to change after each kind of stability event: one sentence, for a person."""

from __future__ import annotations

ADVICE = {
    "non_finite": "lower both learning rates by 10, or clip or penalise D; a single layer's norm tells where it began",
    "d_loss_zero": "lower optim.lr_d or raise optim.lr_g, or hold D back: penalty=r1, instance_noise, labels.soft_real",
    "exploding_gradient": "lower the player's learning rate, or a penalty's lambda; give D a penalty where it has none",
    "vanishing_generator_gradient": "use objective=non_saturating, lower optim.lr_d or n_critic, or penalise D",
    "d_loss_spiking": "lower optim.lr_d, raise batch_size, or lower optim.beta1: the players answer to old gradients",
    "generator_fooling": "D knows too little: raise optim.lr_d, n_critic or D's width",
    "oscillation": "add penalty=r1 or instance_noise, lower optim.beta1, or lower both learning rates",
    "stagnation": "raise optim.lr_g if update_ratio_g is below 1e-4, else lower both rates: it was thrown off",
    "clip_saturation": "use penalty=gradient or norm_d=spectral in place of clip, or raise clip",
    "layer_gradient_blowup": "change clip or network.init, add a norm, or make the network shallower",
    "lipschitz_violation": "raise penalty.lambda or lower optim.lr_d; compute the penalty more often (penalty.every)",
    "critic_overfit": "augment (augment.translation, augment.cutout), use a smaller D, penalise it, or get more data",
    "critic_drift": "give D a penalty or a clip, or lower optim.lr_d",
    "mode_collapse": "pack=2 or more, a lower optim.lr_g, penalty=r1, or another start: seed",
    "mode_dropping": "pack=2 or more, a wider G, a larger latent, or an ensemble of generators",
    "spectral_collapse": "lower optim.lr_g, or go back to the best segment: its generator is kept",
    "memorisation": "get more data or augment it, use smaller networks, or stop earlier",
    "refused_batch_norm_in_penalised_critic": "set network.norm_d to layer or none",
    "warned_non_smooth_activation_in_penalised_critic": "set network.activation to softplus_elu",
}


def advice(kind: str) -> str | None:
    """Return what to change after an event of a kind, or None where nobody wrote it down."""
    return ADVICE.get(kind)
