/* Exact MAML on a page of C, after numaml/textbook.py: cc -O2 maml.c -o maml && ./maml PATH/rational.json

   It reads numaml's rational test vectors, computes every answer in quadruple precision, and says which
   are right to the last bit of a double; exit status 1 if one is not. Layers count from 1, a matrix is
   row by row, and h[l], z[l], delta[l], ... are (n, width[l]), h[0] being the input x. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef __float128 num; /* 113 bits: a double is right when rounded from it */
enum { LAYERS = 8, MOST = 4096 };

/* JSON: a value is its text, or a list of values, which in an object have keys. Nothing is freed. */
typedef struct json { char *key, *text; int n; struct json *in; } json;
static char *at;

static char *word(void) { /* a string, or what else ends at a comma, a bracket or a space */
    at += strspn(at, " \n\t\r,:");
    int quoted = *at == '"';
    size_t n = quoted ? strcspn(++at, "\"") : strcspn(at, ", \n\t\r]}");
    char *text = strndup(at, n);
    at += n + quoted;
    return text;
}

static json value(void) {
    json v = {0};
    at += strspn(at, " \n\t\r,:");
    if (*at != '[' && *at != '{') { v.text = word(); return v; }
    char end = *at++ == '[' ? ']' : '}';
    for (int room = 0;; v.n++) {
        at += strspn(at, " \n\t\r,:");
        if (*at == end) { at++; return v; }
        if (v.n == room) v.in = realloc(v.in, (room = 2 * room + 8) * sizeof(json));
        char *key = end == '}' ? word() : NULL;
        v.in[v.n] = value();
        v.in[v.n].key = key;
    }
}

static json *get(json *v, const char *key) {
    for (int i = 0; i < v->n; i++) if (!strcmp(v->in[i].key, key)) return &v->in[i];
    fprintf(stderr, "there is no %s\n", key);
    exit(2);
}

static num digits(const char *s, const char **rest) {
    num x = 0;
    while (*s >= '0' && *s <= '9') x = 10 * x + (*s++ - '0');
    *rest = s;
    return x;
}

static num fraction(const char *s) { /* "-p/q" */
    int sign = *s == '-' ? -1 : 1;
    num p = digits(s + (sign < 0), &s);
    return sign * (*s == '/' ? p / digits(s + 1, &s) : p);
}

static num *row(json *v, num *to) { /* all numbers in it, in order; the place behind the last */
    if (v->text) { *to = fraction(v->text); return to + 1; }
    for (int i = 0; i < v->n; i++) to = row(&v->in[i], to);
    return to;
}

/* The network. */
static int L, P, width[LAYERS], kind;
static num s(num z) { return kind == 'r' ? (z > 0 ? z : 0) : kind == 's' ? z * z : z; }       /* (A1), (A5) */
static num s1(num z) { return kind == 'r' ? z > 0 : kind == 's' ? 2 * z : 1; }
static num s2(num z) { (void)z; return kind == 's' ? 2 : 0; }
static num *W(num *theta, int l) { /* b follows W, and the next layer's W follows b */
    for (int i = 1; i < l; i++) theta += (width[i - 1] + 1) * width[i];
    return theta;
}
static num *b(num *theta, int l) { return W(theta, l) + width[l - 1] * width[l]; }

typedef struct { int n; num x[MOST], y[MOST]; } batch;
typedef struct { num h[LAYERS][MOST], z[LAYERS][MOST], delta[LAYERS][MOST], e[LAYERS][MOST]; } trace;

/* to += A B, with A (n, m) or its transpose (A stored (m, n)), and B (m, k) or its transpose. */
static void product(num *to, num *A, int At, num *B, int Bt, int n, int m, int k) {
    for (int i = 0; i < n; i++) for (int j = 0; j < k; j++) for (int t = 0; t < m; t++)
        to[i * k + j] += (At ? A[t * n + i] : A[i * m + t]) * (Bt ? B[j * m + t] : B[t * k + j]);
}
static num *blank(num *a) { return memset(a, 0, MOST * sizeof(num)); }
static void layer(num *theta, num *v, int l, int n, num *h, num *h_dot, num *to) { /* h W + b, or R of it */
    int in = width[l - 1], out = width[l];
    product(blank(to), h_dot ? h_dot : h, 0, W(theta, l), 0, n, in, out);
    if (h_dot) product(to, h, 0, W(v, l), 0, n, in, out);
    for (int i = 0; i < n * out; i++) to[i] += b(h_dot ? v : theta, l)[i % out];
}
static void gradients(num *to, int l, int n, num *h, num *h_dot, num *delta, num *delta_dot) {
    product(W(to, l), h, 1, delta_dot ? delta_dot : delta, 0, width[l - 1], n, width[l]);
    if (h_dot) product(W(to, l), h_dot, 1, delta, 0, width[l - 1], n, width[l]);
    for (int i = 0; i < n * width[l]; i++) b(to, l)[i % width[l]] += (delta_dot ? delta_dot : delta)[i];
}

static num gradient(num *theta, batch *d, num *g, trace *t) { /* the loss; fills g and the trace */
    num loss = 0;
    int n = d->n, count = n * width[L];
    memcpy(t->h[0], d->x, sizeof d->x);
    memset(g, 0, P * sizeof(num));
    for (int l = 1; l <= L; l++) {
        layer(theta, NULL, l, n, t->h[l - 1], NULL, t->z[l]);                             /* (F1) */
        for (int i = 0; i < n * width[l]; i++) t->h[l][i] = l < L ? s(t->z[l][i]) : t->z[l][i]; /* (F2) */
    }
    for (int i = 0; i < count; i++) {
        num error = t->z[L][i] - d->y[i];
        loss += error * error / count;                                                    /* (L1) */
        t->delta[L][i] = 2 * error / count;
    }
    for (int l = L; l >= 1; l--) {
        gradients(g, l, n, t->h[l - 1], NULL, t->delta[l], NULL);                         /* (B2) */
        if (l == 1) break;
        product(blank(t->e[l - 1]), t->delta[l], 0, W(theta, l), 1, n, width[l], width[l - 1]);
        for (int i = 0; i < n * width[l - 1]; i++)
            t->delta[l - 1][i] = s1(t->z[l - 1][i]) * t->e[l - 1][i];                     /* (B1) */
    }
    return loss;
}

static void hvp(num *theta, batch *d, num *v, num *Hv) { /* H v, by the same passes' tangents */
    static trace t, r;
    static num g[MOST];
    int n = d->n, count = n * width[L];
    gradient(theta, d, g, &t);
    memset(Hv, 0, P * sizeof(num));
    blank(r.h[0]);
    for (int l = 1; l <= L; l++) {
        layer(theta, v, l, n, t.h[l - 1], r.h[l - 1], r.z[l]);                            /* (R1) */
        for (int i = 0; i < n * width[l]; i++)
            r.h[l][i] = (l < L ? s1(t.z[l][i]) : 1) * r.z[l][i];                          /* (R2) */
    }
    for (int i = 0; i < count; i++) r.delta[L][i] = 2 * r.z[L][i] / count;
    for (int l = L; l >= 1; l--) {
        gradients(Hv, l, n, t.h[l - 1], r.h[l - 1], t.delta[l], r.delta[l]);              /* (R4) */
        if (l == 1) break;
        product(blank(r.e[l - 1]), r.delta[l], 0, W(theta, l), 1, n, width[l], width[l - 1]);
        product(r.e[l - 1], t.delta[l], 0, W(v, l), 1, n, width[l], width[l - 1]);
        for (int i = 0; i < n * width[l - 1]; i++)
            r.delta[l - 1][i] = s2(t.z[l - 1][i]) * r.z[l - 1][i] * t.e[l - 1][i]
                                + s1(t.z[l - 1][i]) * r.e[l - 1][i];                      /* (R3) */
    }
}

static int right, wrong;
static void judge(json *vector, const char *field, num *got) {
    static num want[MOST];
    int n = row(get(get(vector, "right"), field), want) - want, same = 1;
    for (int i = 0; i < n; i++) /* what is exactly 0 cancels, but for the last of 113 bits */
        same &= want[i] ? (double)got[i] == (double)want[i] : got[i] * got[i] < 1e-60;
    same ? right++ : wrong++;
    if (!same) printf("%s %s WRONG\n", get(vector, "name")->text, field);
}

static void solve(json *vector) {
    static num theta[MOST], v[MOST], phis[MOST], inner[MOST], phi[MOST], hvps[MOST], g[MOST], Hlam[MOST];
    static trace t;
    static batch support, query;
    json *net = get(vector, "network"), *sizes = get(net, "sizes"), *tasks = get(vector, "tasks");
    for (L = -1; L + 1 < sizes->n; L++) width[L + 1] = atoi(sizes->in[L + 1].text);
    kind = *get(net, "activation")->text;
    P = row(get(vector, "theta"), theta) - theta;
    row(get(vector, "v"), v);
    num alpha = fraction(get(vector, "alpha")->text), value = 0;
    num exact[MOST] = {0}, first[MOST] = {0};
    int K = atoi(get(vector, "steps")->text);
    for (int task = 0; task < tasks->n; task++) {
        for (int q = 0; q < 2; q++) {
            json *part = get(&tasks->in[task], q ? "query" : "support");
            batch *to = q ? &query : &support;
            to->n = get(part, "x")->n;
            row(get(part, "x"), to->x);
            row(get(part, "y"), to->y);
        }
        memcpy(phis, theta, sizeof theta);
        for (int k = 0; k < K; k++) {
            num *step = inner + (task * K + k) * P, *now = phis + k * P;
            gradient(now, &support, step, &t);
            for (int i = 0; i < P; i++) now[P + i] = now[i] - alpha * step[i];            /* (M1) */
        }
        memcpy(phi + task * P, phis + K * P, P * sizeof(num));
        hvp(theta, &support, v, hvps + task * P);
        value += gradient(phis + K * P, &query, g, &t) / tasks->n;                        /* (M2) */
        for (int i = 0; i < P; i++) first[i] += g[i] / tasks->n;                          /* (M4) */
        for (int k = K - 1; k >= 0; k--) {
            hvp(phis + k * P, &support, g, Hlam);
            for (int i = 0; i < P; i++) g[i] -= alpha * Hlam[i];                          /* (M3) */
        }
        for (int i = 0; i < P; i++) exact[i] += g[i] / tasks->n;                          /* (M5) */
    }
    judge(vector, "meta_value", &value);
    judge(vector, "inner_gradients", inner);
    judge(vector, "phi", phi);
    judge(vector, "hvp", hvps);
    judge(vector, "meta_gradient", exact);
    judge(vector, "first_order_meta_gradient", first);
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file) { fprintf(stderr, "usage: %s PATH/rational.json\n", argv[0]); return 2; }
    static char text[1 << 22];
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    at = text;
    json all = value();
    json *vectors = get(&all, "vectors");
    for (int i = 0; i < vectors->n; i++) solve(&vectors->in[i]);
    printf("%d right, %d wrong\n", right, wrong);
    return wrong > 0;
}
