/* A stand-in for AlexeyAB's or hank-ai's libdarknet: their functions around Debian's library, which
   computes. It shows the faults of those builds, each by a macro:
     HANK            hank-ai's symbols and order of candidates
     DIES_IN_LOAD    aborts when the .cfg has [dropout]
     DIES_IN_PREDICT raises SIGFPE when the network has [dropout]
     DIES_AT_ONCE    exits when any network is loaded
     PRINTS          the first prediction prints to standard output, by C's stream and by the descriptor
     WRONG_MAXPOOL   vectors of 8 columns lose what is left of the map
     ZERO_RELU6      relu6 is 0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>
#define load_network_custom theirs_load_network_custom
#define get_network_boxes theirs_get_network_boxes
#define network_predict_image theirs_network_predict_image
#define do_nms_sort theirs_do_nms_sort
#define free_detections theirs_free_detections
#include "darknet.h"
#undef get_network_boxes
#undef network_predict_image
#undef do_nms_sort
#undef free_detections
#undef load_network_custom

static void *real(const char *name) {
    static void *library;
    if (!library) library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    return dlsym(library, name);
}
#define CALL(result, name, types, ...) (((result (*) types) real(#name))(__VA_ARGS__))

void fuse_conv_batchnorm(void) {}
#ifdef HANK
void darknet_load_neural_network(void) {}
#endif

static void forward_maxpool(struct layer l, struct network net) {
    int offset = -l.pad / 2;
    for (int k = 0; k < l.c; ++k)
        for (int y = 0; y < l.out_h; ++y)
            for (int x = 0; x < l.out_w; ++x) {
                int in_vector = l.stride == 1 && x / 8 * 8 < l.out_w - 8 - (l.size - 1);
                int first = in_vector ? x / 8 * 8 : x;
                float max = -FLT_MAX;
                for (int n = 0; n < l.size; ++n)
                    for (int m = 0; m < l.size; ++m) {
                        int row = offset + y * l.stride + n, column = offset + x * l.stride + m;
                        int checked = offset + first * l.stride + m;
                        if (row < 0 || row >= l.h || checked < 0 || column < 0 || column >= l.w) continue;
                        max = fmaxf(max, net.input[column + l.w * (row + l.h * k)]);
                    }
                l.output[x + l.out_w * (y + l.out_h * k)] = max;
            }
}

static void forward_relu6(struct layer l, struct network net) {
    CALL(void, forward_convolutional_layer, (struct layer, struct network), l, net);
    for (int i = 0; i < l.outputs; ++i)
#ifdef ZERO_RELU6
        l.output[i] = 0;
#else
        l.output[i] = fminf(l.output[i], 6);
#endif
}

void *load_network_custom(char *cfg, char *weights, int clear, int batch) {
    char text[1 << 16] = {0};
    FILE *file = fopen(cfg, "r");
    fread(text, 1, sizeof text - 1, file);
    fclose(file);
#ifdef DIES_AT_ONCE
    printf("wrong argument\n");
    exit(7);
#endif
#ifdef DIES_IN_LOAD
    if (strstr(text, "[dropout]")) {
        printf("\033[31mError: [dropout] is not supported\033[0m\n");
        abort();
    }
#endif
    network *net = CALL(network *, load_network, (char *, char *, int), cfg, weights, 0);
    CALL(void, set_batch_network, (network *, int), net, 1);
    for (int i = 0; i < net->n; ++i) {
#ifdef WRONG_MAXPOOL
        if (net->layers[i].type == MAXPOOL) net->layers[i].forward = forward_maxpool;
#endif
        if (net->layers[i].activation == RELU && strstr(text, "activation=relu6"))
            net->layers[i].forward = forward_relu6;
    }
    return net;
}
void free_network_ptr(void *net) { CALL(void, free_network, (void *), net); }

float *network_predict_ptr(void *net, float *input) {
#ifdef PRINTS
    static int printed;
    if (!printed++) {
        printf("\n Used AVX \n");
        write(1, "AVX detected.\n", 14);
    }
#endif
#ifdef DIES_IN_PREDICT
    for (int i = 0; i < ((network *)net)->n; ++i)
        if (((network *)net)->layers[i].type == DROPOUT) raise(SIGFPE);
#endif
    return CALL(float *, network_predict, (void *, float *), net, input);
}

static float *predict_sized(network *net, image sized) {
    float *output = network_predict_ptr(net, sized.data);
    CALL(void, free_image, (image), sized);
    return output;
}
float *network_predict_image(network *net, image im) {
    return predict_sized(net, CALL(image, resize_image, (image, int, int), im, net->w, net->h));
}
float *network_predict_image_letterbox(network *net, image im) {
    return predict_sized(net, CALL(image, letterbox_image, (image, int, int), im, net->w, net->h));
}

static int in_hanks_order(network *net, float thresh, int *places) {
    int count = 0, before = 0;
    for (int j = 0; j < net->n; ++j) {
        layer l = net->layers[j];
        if (l.type != YOLO) continue;
        int cells = l.w * l.h, *theirs = calloc(cells * l.n, sizeof(int));
        for (int i = 0; i < cells; ++i)
            for (int n = 0; n < l.n; ++n)
                theirs[n * cells + i] =
                    l.output[(n * (5 + l.classes) + 4) * cells + i] > thresh ? before++ : -1;
        for (int i = 0; i < cells * l.n; ++i)
            if (theirs[i] >= 0) places[count++] = theirs[i];
        free(theirs);
    }
    return count;
}

detection *get_network_boxes(network *net, int w, int h, float thresh, float hier, int *map,
                             int relative, int *num, int letter) {
    detection *dets = CALL(detection *, get_network_boxes,
                           (network *, int, int, float, float, int *, int, int *), net,
                           letter ? w : net->w, letter ? h : net->h, thresh, hier, map, 1, num);
    for (int i = 0; i < *num && !relative; ++i) {
        dets[i].bbox.x *= w, dets[i].bbox.w *= w;
        dets[i].bbox.y *= h, dets[i].bbox.h *= h;
    }
#ifdef HANK
    int *places = calloc(*num + 1, sizeof(int)), count = in_hanks_order(net, thresh, places);
    detection *ordered = calloc(count + 1, sizeof(detection));
    for (int i = 0; i < count; ++i) ordered[i] = dets[places[i]];
    memcpy(dets, ordered, count * sizeof(detection));
    free(places), free(ordered);
#endif
    return dets;
}
void free_detections(detection *dets, int n) {
    CALL(void, free_detections, (detection *, int), dets, n);
}
void do_nms_sort(detection *dets, int total, int classes, float thresh) {
    CALL(void, do_nms_sort, (detection *, int, int, float), dets, total, classes, thresh);
}

static float overlap(box a, box b, float beta) {
    float iou = CALL(float, box_iou, (box, box), a, b);
    float w = fmaxf(a.x + a.w / 2, b.x + b.w / 2) - fminf(a.x - a.w / 2, b.x - b.w / 2);
    float h = fmaxf(a.y + a.h / 2, b.y + b.h / 2) - fminf(a.y - a.h / 2, b.y - b.h / 2);
    float d = (a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y), c = w * w + h * h;
    return c == 0 ? iou : iou - powf(d / c, beta);
}
static int by_score(const void *pa, const void *pb) {
    const detection *a = pa, *b = pb;
    float difference = a->prob[a->sort_class] - b->prob[b->sort_class];
    return difference < 0 ? 1 : difference > 0 ? -1 : 0;
}
void diounms_sort(detection *dets, int total, int classes, float thresh, int kind, float beta) {
    for (int k = 0; k < classes; ++k) {
        for (int i = 0; i < total; ++i) dets[i].sort_class = k;
        qsort(dets, total, sizeof(detection), by_score);
        for (int i = 0; i < total; ++i)
            for (int j = i + 1; j < total && dets[i].prob[k]; ++j)
                if (overlap(dets[i].bbox, dets[j].bbox, beta) > thresh) dets[j].prob[k] = 0;
    }
}
