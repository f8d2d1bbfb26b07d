"""flowjax's vmapped mixture of coupling flows, with the widths of ours and an encoder by hand; runs where JAX is."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal, VmapMixture
from flowjax.flows import coupling_flow
from jax_flows import negative_elbo
from paramax import non_trainable, unwrap

__all__ = ["Flowjax"]


class Flowjax:
    """A mixture whose flows and encoder are trained; the arrays of the base distribution are not."""

    def __init__(self, size, encoder):
        mixture = VmapMixture(eqx.filter_vmap(self.maker(size))(self.keys(size)), jnp.ones(size["components"]))
        flows, self.fixed = eqx.partition(mixture.dist, eqx.is_inexact_array)
        self.trained = {"flow": flows, "encoder": encoder}

    @staticmethod
    def keys(size):
        """One random key for each component."""
        return jax.random.split(jax.random.key(0), size["components"])

    @staticmethod
    def maker(size):
        """The function that makes one flow from a key."""
        splines = {"knots": size["bins"] - 1, "interval": size["bound"]}
        how = {"transformer": RationalQuadraticSpline(**splines)} if size["kind"] == "spline" else {}
        how |= {"flow_layers": size["transforms"], "nn_width": size["hidden"][0], "nn_depth": len(size["hidden"])}
        base = non_trainable(Normal(jnp.zeros(size["features"])))
        return lambda key: coupling_flow(key, base_dist=base, **how)

    def log_densities(self, trained, points):
        """The table ``(K, N)``, as the mixture scores its components before it sums over them."""
        flows = eqx.combine(trained["flow"], self.fixed)
        return eqx.filter_vmap(lambda flow: unwrap(flow).log_prob(points))(flows)

    def loss(self, trained, points):
        """The loss of a batch."""
        return negative_elbo(self.log_densities(trained, points), trained["encoder"], points)

    def parameters(self):
        """The number of parameters of the flows, those of the base distribution not counted."""
        return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self.trained["flow"].bijection, eqx.is_array)))
