"""Weights of torch.nn.Sequential and of scikit-learn's MLPs into theta, and back."""

from importlib.util import find_spec

import numpy as np

from numaml import MLP

# PyTorch's modules and scikit-learn's names for numaml's activations.
TORCH = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus"}
SKLEARN = {"relu": "relu", "tanh": "tanh", "logistic": "sigmoid", "identity": "identity"}


def from_torch(net, loss="squared_error"):
    """(model, theta) of Linear, activation, Linear, …; PyTorch's weight is W transposed."""
    linear, names = list(net)[::2], {type(module).__name__ for module in list(net)[1::2]}
    if len(names) > 1 or not names <= set(TORCH):
        raise ValueError(f"the activations are {names}; want one of {', '.join(TORCH)} everywhere")
    sizes = (linear[0].in_features, *(layer.out_features for layer in linear))
    model = MLP(sizes, TORCH[names.pop()] if names else "identity", loss)
    arrays = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]
    return model, model.pack(arrays)


def to_torch(model, theta, net):
    """Put theta into a network of the same layers."""
    import torch

    with torch.no_grad():
        for layer, (W, b) in zip(list(net)[::2], model.unpack(theta), strict=True):
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T)))
            layer.bias.copy_(torch.from_numpy(b))


def from_sklearn(estimator):
    """(model, theta) of a fitted MLPRegressor, or MLPClassifier of three classes and more."""
    loss = "cross_entropy" if estimator.out_activation_ == "softmax" else "squared_error"
    sizes = (estimator.n_features_in_, *(len(b) for b in estimator.intercepts_))
    model = MLP(sizes, SKLEARN[estimator.activation], loss)
    return model, model.pack(list(zip(estimator.coefs_, estimator.intercepts_, strict=True)))


def to_sklearn(model, theta, estimator):
    """Put theta into a fitted estimator of the same layers."""
    layers = model.unpack(theta)
    estimator.coefs_ = [W.copy() for W, _ in layers]
    estimator.intercepts_ = [b.copy() for _, b in layers]


def torch_there_and_back():
    """Largest differences of the outputs: of theta, and of a network that theta was put into."""
    import torch

    def network():
        first, second = torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)
        return torch.nn.Sequential(first, torch.nn.Softplus(), second).double()

    net, x = network(), np.random.default_rng(0).normal(size=(5, 3))
    model, theta = from_torch(net)
    copy = network()
    to_torch(model, theta, copy)
    with torch.no_grad():
        outputs = [net(torch.from_numpy(x)).numpy() for net in (net, copy)]
    return [float(np.max(np.abs(u - model.predict(theta, x)))) for u in outputs]


def sklearn_there_and_back():
    from sklearn.neural_network import MLPRegressor

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    fitted = MLPRegressor(hidden_layer_sizes=(8,), activation="tanh").partial_fit(x, y)
    model, theta = from_sklearn(fitted)
    differences = [float(np.max(np.abs(fitted.predict(x) - model.predict(theta, x))))]
    to_sklearn(model, 2 * theta, fitted)
    return [*differences, float(np.max(np.abs(fitted.predict(x) - model.predict(2 * theta, x))))]


def main():
    done = {}
    for package, there_and_back in (
        ("torch", torch_there_and_back),
        ("sklearn", sklearn_there_and_back),
    ):
        if find_spec(package):
            done[package] = there_and_back()
        else:
            print(f"skipped: {package} is not installed")
    return done


if __name__ == "__main__":
    for name, (there, back) in main().items():
        print(f"{name}: outputs differ by {there:.0e} from theta's, and by {back:.0e} put back")
