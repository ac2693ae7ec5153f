"""A second implementation of AGVM, in NumPy and float64, written from the paper.

It is given the gradients of every worker and replays the whole training: halves,
variances, multipliers and weights. It shares no code with the package.
"""

import numpy as np


class NumpyAGVM:
    def __init__(
        self,
        weights,
        modules,
        optimizer,
        anchor="backbone",
        interval=1,
        momentum=0.97,
        start=0,
        ratio_range=(0.5, 10.0),
    ):
        self.weights = {k: np.array(v, np.float64) for k, v in weights.items()}
        self.module_of = {}
        for name in self.weights:
            owner = [m for m in modules if name.startswith(m + ".")]
            self.module_of[name] = owner[0] if owner else "rest"
        self.mu = dict.fromkeys(self.module_of.values(), 1.0)
        self.phi = {}
        self.optimizer = optimizer
        self.anchor = anchor
        self.interval, self.alpha, self.start = interval, momentum, start
        self.low, self.high = ratio_range
        zeros = {k: np.zeros_like(v) for k, v in self.weights.items()}
        self.m = {k: v.copy() for k, v in zeros.items()}
        self.v = {k: v.copy() for k, v in zeros.items()}
        self.count = 0

    def step(self, first, second):
        """One update from lists of gradients (dicts): of the first half's workers
        and of the second half's."""
        every = first + second
        mean = {k: sum(g[k] for g in every) / len(every) for k in self.weights}
        if self.count >= self.start and (self.count - self.start) % self.interval == 0:
            one = {k: sum(g[k] for g in first) / len(first) for k in self.weights}
            two = {k: sum(g[k] for g in second) / len(second) for k in self.weights}
            self.measure(self.directions(one, mean), self.directions(two, mean))
        self.count += 1
        self.update(mean)

    def directions(self, grad, mean):
        if self.optimizer["type"] == "SGD":
            return grad
        beta2 = self.optimizer.get("betas", (0.9, 0.999))[1]
        eps = self.optimizer.get("eps", 1e-8)
        return {
            k: g / (np.sqrt(beta2 * self.v[k] + (1 - beta2) * mean[k] ** 2) + eps)
            for k, g in grad.items()
        }

    def measure(self, one, two):
        for module in self.mu:
            names = [k for k, m in self.module_of.items() if m == module]
            a = np.concatenate([one[k].ravel() for k in names])
            b = np.concatenate([two[k].ravel() for k in names])
            norms = np.linalg.norm(a) * np.linalg.norm(b)
            if norms > 0:
                self.phi[module] = 1 - a @ b / norms
            else:
                self.phi.pop(module, None)
        for module in self.mu:
            if module == self.anchor or module not in self.phi:
                continue
            ratio = (self.phi[self.anchor] + 1e-6) / (self.phi[module] + 1e-6)
            new = np.sqrt(np.clip(ratio, self.low, self.high))
            self.mu[module] = self.alpha * self.mu[module] + (1 - self.alpha) * new

    def update(self, grad):
        opt = self.optimizer
        decay = opt.get("weight_decay", 0.0)
        for k, weight in self.weights.items():
            rate = opt["lr"] * self.mu[self.module_of[k]]
            if opt["type"] == "SGD":
                g = grad[k] + decay * weight
                self.m[k] = opt.get("momentum", 0.0) * self.m[k] + g
                if opt.get("nesterov"):
                    g = g + opt["momentum"] * self.m[k]
                else:
                    g = self.m[k]
                self.weights[k] = weight - rate * g
                continue
            beta1, beta2 = opt.get("betas", (0.9, 0.999))
            weight = weight * (1 - rate * decay)
            self.m[k] = beta1 * self.m[k] + (1 - beta1) * grad[k]
            self.v[k] = beta2 * self.v[k] + (1 - beta2) * grad[k] ** 2
            m = self.m[k] / (1 - beta1**self.count)
            v = self.v[k] / (1 - beta2**self.count)
            eps = opt.get("eps", 1e-8)
            self.weights[k] = weight - rate * m / (np.sqrt(v) + eps)
