"""betty: its implicit gradients at a minimum that is handed in, without its engine."""

from betty.configs import Config
from betty.hypergradient import get_grads
from betty.problems import ImplicitProblem
from problem import Way, array
from torch_network import Network, flat, loss_of, tasks_of

PACKAGE, REQUIRES = "betty-ml", ("torch", "betty-ml")


class Level(ImplicitProblem):
    """A level of an optimisation, whose loss is a function of its module and a batch."""

    def __init__(self, name, module, loss, config):
        super().__init__(name, config, module)
        self.loss = loss

    def training_step(self, batch):
        return self.loss(self.module, *batch)


def run_with(**settings):
    def run(problem):
        loss, p = loss_of(problem), float(array(problem.vector["pull"]))
        found = []
        for phi, task in zip(problem.vector["right"]["phi"], tasks_of(problem), strict=True):
            upper = Level("theta", Network(problem), None, Config())

            def pulled(net, x, y, upper=upper):
                pairs = zip(net.parameters(), upper.module.parameters(), strict=True)
                return loss(net(x), y) + p / 2 * sum(((a - b) ** 2).sum() for a, b in pairs)

            lower = Level("phi", Network(problem, array(phi)), pulled, Config(**settings))
            lower.cur_batch, (xq, yq) = task[:2], task[2:]
            query = loss(lower.module(xq), yq)
            found.append(flat(get_grads(query, [upper, lower, upper], False)))
        return sum(found) / len(found)

    return run


MINIMA = ("minimum-linear", "minimum-tanh")
WAYS = [
    Way('Config(type="darts"), its default', run_with(), vectors=MINIMA,
        instead='type="neumann" with many iterations'),
    Way('type="neumann", its defaults', run_with(type="neumann"), vectors=MINIMA,
        instead="neumann_iterations and neumann_alpha to suit the Hessian"),
    Way('type="neumann", 800 iterations, alpha 0.1',
        run_with(type="neumann", neumann_iterations=800, neumann_alpha=0.1), vectors=MINIMA),
    Way('type="cg", 1 iteration', run_with(type="cg"), vectors=MINIMA,
        instead='type="neumann" with many iterations'),
    Way('type="cg", 20 iterations', run_with(type="cg", cg_iterations=20), vectors=MINIMA,
        instead='type="neumann" with many iterations'),
]  # fmt: skip
