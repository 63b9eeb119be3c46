// Exact MAML on a page of JavaScript, after numaml/textbook.py: node maml.mjs PATH/rational.json
//
// It reads numaml's rational test vectors, computes every answer in fractions of BigInts, and says
// which are equal; exit status 1 if one is not. A matrix is an array of rows. Layers count from 1.
import { readFileSync } from "node:fs";

// Fractions, in lowest terms.
const gcd = (a, b) => { while (b) [a, b] = [b, a % b]; return a < 0n ? -a : a; };
const frac = (p, q) => { const d = gcd(p, q) * (q < 0n ? -1n : 1n); return { p: p / d, q: q / d }; };
const read = (s) => { const [p, q = "1"] = s.split("/"); return frac(BigInt(p), BigInt(q)); };
const write = ({ p, q }) => (q === 1n ? `${p}` : `${p}/${q}`);
const num = (n) => frac(BigInt(n), 1n), zero = num(0), two = num(2);
const add = (a, b) => frac(a.p * b.q + b.p * a.q, a.q * b.q);
const mul = (a, b) => frac(a.p * b.p, a.q * b.q);
const neg = (a) => ({ p: -a.p, q: a.q }), sub = (a, b) => add(a, neg(b));
const over = (a, n) => frac(a.p, a.q * BigInt(n));
const sum = (row) => row.reduce(add, zero);

// Matrices.
const T = (A) => A[0].map((_, j) => A.map((row) => row[j]));
const dot = (A, B) => A.map((row) => T(B).map((col) => sum(row.map((a, i) => mul(a, col[i])))));
const each = (f, ...M) => M[0].map((row, i) => row.map((_, j) => f(...M.map((A) => A[i][j]))));
const plus = (A, B) => each(add, A, B), times = (A, B) => each(mul, A, B);
const row = (M) => T(M).map(sum); // the sum over examples

// Activations (s, s', s'').
const ACTIVATIONS = {
  relu: [(z) => (z.p > 0n ? z : zero), (z) => num(z.p > 0n ? 1 : 0), () => zero], // (A1)
  square: [(z) => mul(z, z), (z) => mul(two, z), () => two], // (A5)
  identity: [(z) => z, () => num(1), () => zero],
};

function unpack(sizes, theta) { // W and b of every layer, from [W1 row by row, b1, W2, ...]
  let at = 0;
  return sizes.slice(1).map((nOut, l) => {
    const take = (n) => theta.slice(at, (at += n));
    return { W: Array.from({ length: sizes[l] }, () => take(nOut)), b: take(nOut) };
  });
}
const pack = (layers) => layers.flatMap(({ W, b }) => [...W.flat(), ...b]);

// The loss, its gradient, and v -> H v, by the four passes.
function linearize({ sizes, activation }, theta, { x, y }) {
  const [s, s1, s2] = ACTIVATIONS[activation], layers = unpack(sizes, theta), L = layers.length;
  const h = [x], z = [null], delta = [], e = [], grad = [];
  for (let l = 1; l <= L; l++) {
    const { W, b } = layers[l - 1];
    z[l] = dot(h[l - 1], W).map((r) => r.map((a, j) => add(a, b[j]))); // (F1)
    h[l] = l < L ? each(s, z[l]) : z[l]; // (F2)
  }
  const error = each(sub, z[L], y), count = y.length * y[0].length;
  const value = over(sum(times(error, error).flat()), count); // (L1)
  delta[L] = each((d) => over(mul(two, d), count), error);
  for (let l = L; l >= 1; l--) {
    grad[l - 1] = { W: dot(T(h[l - 1]), delta[l]), b: row(delta[l]) }; // (B2)
    if (l === 1) break;
    e[l - 1] = dot(delta[l], T(layers[l - 1].W));
    delta[l - 1] = times(each(s1, z[l - 1]), e[l - 1]); // (B1)
  }
  const hvp = (v) => {
    const dots = unpack(sizes, v), hDot = [each(() => zero, x)], zDot = [null], dDot = [], out = [];
    for (let l = 1; l <= L; l++) {
      const moved = plus(dot(hDot[l - 1], layers[l - 1].W), dot(h[l - 1], dots[l - 1].W));
      zDot[l] = moved.map((r) => r.map((a, j) => add(a, dots[l - 1].b[j]))); // (R1)
      hDot[l] = l < L ? times(each(s1, z[l]), zDot[l]) : zDot[l]; // (R2)
    }
    dDot[L] = each((d) => over(mul(two, d), count), zDot[L]);
    for (let l = L; l >= 1; l--) {
      const W = plus(dot(T(hDot[l - 1]), delta[l]), dot(T(h[l - 1]), dDot[l]));
      out[l - 1] = { W, b: row(dDot[l]) }; // (R4)
      if (l === 1) break;
      const eDot = plus(dot(dDot[l], T(layers[l - 1].W)), dot(delta[l], T(dots[l - 1].W)));
      const bend = times(times(each(s2, z[l - 1]), zDot[l - 1]), e[l - 1]);
      dDot[l - 1] = plus(bend, times(each(s1, z[l - 1]), eDot)); // (R3)
    }
    return pack(out);
  };
  return { value, gradient: pack(grad), hvp };
}

function answers({ network, theta, v, alpha, steps, tasks }) {
  const step = (a, g) => a.map((a_i, i) => sub(a_i, mul(alpha, g[i])));
  const found = { inner_gradients: [], phi: [], hvp: [] }, values = [], exact = [], first = [];
  for (const { support, query } of tasks) {
    let phi = theta, inner = [], hvps = [];
    for (let k = 0; k < steps; k++) {
      const { gradient, hvp } = linearize(network, phi, support);
      phi = step(phi, gradient); // (M1)
      inner.push(gradient), hvps.push(hvp);
    }
    const { value, gradient } = linearize(network, phi, query); // (M2)
    const lam = hvps.reduceRight((lam, hvp) => step(lam, hvp(lam)), gradient); // (M3)
    values.push(value), exact.push(lam), first.push(gradient); // (M4)
    found.inner_gradients.push(inner), found.phi.push(phi);
    found.hvp.push(linearize(network, theta, support).hvp(v));
  }
  const mean = (M) => T(M).map((column) => over(sum(column), tasks.length)); // (M5)
  const [meta_value] = mean(values.map((one) => [one]));
  return { meta_value, ...found, meta_gradient: mean(exact), first_order_meta_gradient: mean(first) };
}

// Numbers are strings in the file, and theta's layout is pack's.
const numbers = (a) => (Array.isArray(a) ? a.map(numbers) : typeof a === "string" ? read(a) : a);
const texts = (a) => (Array.isArray(a) ? a.map(texts) : write(a));
let right = 0, wrong = 0;
for (const vector of JSON.parse(readFileSync(process.argv[2])).vectors) {
  const { theta, v, alpha, tasks } = vector;
  const data = tasks.map(({ support: s, query: q }) => ({
    support: { x: numbers(s.x), y: numbers(s.y) }, query: { x: numbers(q.x), y: numbers(q.y) },
  }));
  const problem = { ...vector, theta: numbers(theta), v: numbers(v), alpha: read(alpha), tasks: data };
  for (const [field, answer] of Object.entries(answers(problem))) {
    const same = JSON.stringify(texts(answer)) === JSON.stringify(vector.right[field]);
    same ? right++ : wrong++;
    if (!same) console.log(`${vector.name} ${field} WRONG`);
  }
}
console.log(`${right} right, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
