/* The ensemble of the 2×2 diagonal completion, run by run: the arithmetic of deeplinear.ensembles in plain C, to measure how
   far the library is from it. Tsitouras 5(4) on W in closed form, errors relative to the singular values, and the jump to the
   limit every eight steps (two unknowns, solved directly).

   int ensemble(runs, starts[runs][4], target, nu, accuracy, ends[runs][4], steps[runs]) */
#include <math.h>
#include <string.h>

static const double A[7][6] = {
    {0},
    {0.161},
    {-0.008480655492356989, 0.335480655492357},
    {2.8971530571054935, -6.359448489975075, 4.3622954328695815},
    {5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525},
    {5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383},
    {0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774}};
static const double B[7] = {0.00178001105222577714, 0.0008164344596567469, -0.007880878010261995, 0.1447110071732629,
                            -0.5823571654525552,    0.45808210592918697,   -0.015151515151515152};

typedef struct { double cp, sp, cq, sq, l1, l2, l12, largest, z; } frame;

static frame at(const double *w, double nu) {
    frame f;
    double p0 = (w[0] + w[3]) / 2, p1 = (w[2] - w[1]) / 2, q0 = (w[0] - w[3]) / 2, q1 = (w[2] + w[1]) / 2;
    double p = sqrt(p0 * p0 + p1 * p1), q = sqrt(q0 * q0 + q1 * q1);
    f.cp = p0 / p, f.sp = p1 / p, f.cq = q0 / q, f.sq = q1 / q;
    f.largest = p + q;
    f.z = -2 * log(fmin(fabs(w[0] * w[3] - w[1] * w[2]) / (f.largest * f.largest), 1.0));
    f.l1 = exp((2 - 2 * nu) * log(f.largest));
    f.l2 = f.l1 * exp((nu - 1) * f.z);
    f.l12 = f.z == 0 ? f.l1 : f.l1 * -expm1(-f.z) / (nu * f.z < 1e-30 ? f.z : -expm1(-nu * f.z) / nu);
    return f;
}

static void turn(const frame *f, const double *z, double *t) {
    double p0 = (z[0] + z[3]) / 2, p1 = (z[2] - z[1]) / 2, q0 = (z[0] - z[3]) / 2, q1 = (z[2] + z[1]) / 2;
    double x = p0 * f->cp + p1 * f->sp, y = q0 * f->cq + q1 * f->sq;
    t[0] = x + y, t[1] = x - y, t[2] = p1 * f->cp - p0 * f->sp, t[3] = q1 * f->cq - q0 * f->sq;
}

static void apply(const frame *f, const double *z, double *out) {
    double t[4];
    turn(f, z, t);
    double a = f->l1 * t[0], b = f->l2 * t[1], y = f->l12 * t[2], w = f->l12 * t[3], x = (a + b) / 2, v = (a - b) / 2;
    double p0 = x * f->cp - y * f->sp, p1 = x * f->sp + y * f->cp, q0 = v * f->cq - w * f->sq, q1 = v * f->sq + w * f->cq;
    out[0] = p0 + q0, out[1] = q1 - p1, out[2] = p1 + q1, out[3] = p0 - q0;
}

static double length(const frame *f, const double *e, double floor) {
    double t[4], z = fmin(f->z, -2 * log(floor));
    turn(f, e, t);
    double mixed = z == 0 ? 1 : -expm1(-z) / z;
    return sqrt(t[0] * t[0] + t[1] * t[1] * exp(z) + 2 * (t[2] * t[2] + t[3] * t[3]) / mixed) / f->largest;
}

static frame rate(const double *w, double target, double nu, double *k) {
    double g[4] = {target - w[0], 0, 0, target - w[3]};
    frame f = at(w, nu);
    apply(&f, g, k);
    return f;
}

static double norm(const double *w) { return sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3]); }

/* The displacement to the limit with the kernel frozen: A(y) on the diagonal equals the residual. */
static void leap(const frame *f, const double *w, double target, double *d) {
    double e0[4] = {1, 0, 0, 0}, e3[4] = {0, 0, 0, 1}, a[4], b[4];
    apply(f, e0, a), apply(f, e3, b);
    double r0 = target - w[0], r3 = target - w[3], det = a[0] * b[3] - b[0] * a[3];
    double y0 = (r0 * b[3] - b[0] * r3) / det, y3 = (a[0] * r3 - r0 * a[3]) / det;
    for (int i = 0; i < 4; i++) d[i] = y0 * a[i] + y3 * b[i];
}

static int jump(const double *w, double target, double nu, double accuracy, double *end) {
    frame f = at(w, nu);
    double first[4], second[4], middle[4], difference[4];
    leap(&f, w, target, first);
    for (int i = 0; i < 4; i++) middle[i] = w[i] + first[i] / 2;
    frame g = at(middle, nu);
    leap(&g, w, target, second);
    for (int i = 0; i < 4; i++) end[i] = w[i] + second[i], difference[i] = second[i] - first[i];
    return length(&f, second, accuracy) <= 0.5 && norm(difference) <= accuracy * norm(end);
}

int ensemble(int runs, const double *starts, double target, double nu, double accuracy, double *ends, int *steps) {
    double tol = 10 * accuracy, floor = 100 * 2.220446049250313e-16 / tol;
    for (int r = 0; r < runs; r++) {
        double w[4], k[7][4], end[4], e[4];
        memcpy(w, starts + 4 * r, sizeof w);
        rate(w, target, nu, k[0]);
        double h = 0.01 * norm(w) / norm(k[0]);
        int n = 0;
        do {
            for (int inner = 0; inner < 8; inner++, n++) {
                frame f;
                for (int s = 1; s < 7; s++) {
                    for (int i = 0; i < 4; i++) {
                        double sum = 0;
                        for (int j = 0; j < s; j++) sum += A[s][j] * k[j][i];
                        end[i] = w[i] + h * sum;
                    }
                    f = rate(end, target, nu, k[s]);
                }
                for (int i = 0; i < 4; i++) {
                    e[i] = 0;
                    for (int j = 0; j < 7; j++) e[i] += h * B[j] * k[j][i];
                }
                double error = length(&f, e, floor) / tol;
                if (error <= 1) memcpy(w, end, sizeof w), memcpy(k[0], k[6], sizeof w);
                h *= fmin(5, fmax(0.2, 0.9 * pow(fmax(error, 1e-10), -0.2)));
            }
        } while (!jump(w, target, nu, accuracy, ends + 4 * r) && n < 20000);
        steps[r] = n;
    }
    return 0;
}
