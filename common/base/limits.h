/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every size that a peer, a file or a user controls, with its reason. Tests try one below, at and
 * one above each.
 */
#ifndef WEFT_LIMITS_H
#define WEFT_LIMITS_H

/* One bulk message. Larger ones gain nothing (measured) and cost each receiver their size. */
#define WEFT_MAX_CHUNK_BYTES (1U << 20)
/* One control message: a job with a 64 KiB model spec and its schema is the largest. */
#define WEFT_MAX_CONTROL_BYTES (256U << 10)
/* What decoding one control message may allocate: protobuf-c keeps unknown fields at 47 times
 * their size. */
#define WEFT_MAX_DECODE_BYTES (1U << 20)
/* Names of clients, jobs, data sets: they appear in certificates, files and log lines. */
#define WEFT_MAX_NAME_BYTES 64
/* Names of tensors in a model. */
#define WEFT_MAX_TENSOR_NAME_BYTES 96
/* A model spec and a data schema as text: far above any network this engine is meant for. */
#define WEFT_MAX_SPEC_BYTES   (64U << 10)
#define WEFT_MAX_SCHEMA_BYTES (64U << 10)
#define WEFT_MAX_LAYERS       256
#define WEFT_MAX_TENSORS      1024
#define WEFT_MAX_TENSOR_RANK  4
#define WEFT_MAX_COLUMNS      1024
#define WEFT_MAX_CATEGORIES   256
/* Data sets in memory: features of one example (a 2048 x 2048 RGB image is 12.6 M), classes,
 * distinct values of a grouping column, one line of a CSV, one array (1 TiB: below any overflow).
 */
#define WEFT_MAX_FEATURES   (1U << 24)
#define WEFT_MAX_CLASSES    65536U
#define WEFT_MAX_GROUPS     65536U
#define WEFT_MAX_LINE_BYTES (1U << 20)
#define WEFT_MAX_DATA_BYTES (UINT64_C(1) << 40)
/* A text to learn from: its windows take 4 bytes a character of each window. Roles are compared one
 * by one. */
#define WEFT_MAX_TEXT_BYTES  (64U << 20)
#define WEFT_MAX_TEXT_WINDOW 4096U
#define WEFT_MAX_TEXT_ROLES  4096U

/* Rounds whose updates a job keeps on disk. */
#define WEFT_MAX_KEEP_UPDATES 1000U
/* 2^33 parameters are 32 GiB of float32: above any mapping we expect, below any overflow. */
#define WEFT_MAX_PARAMS (UINT64_C(1) << 33)
/* A client's weight in an average. A peer that lets 2^62 in loses its model to one client. */
#define WEFT_MAX_EXAMPLES (UINT64_C(1) << 31)
/* Clients in one round; weights and sums are sized for it. */
#define WEFT_MAX_COHORT 100000U
/* Neighbours of one client in secure aggregation: Shamir shares over GF(2^8) have 255 points. */
#define WEFT_MAX_SECAGG_NEIGHBOURS 254U
/* A roster of WEFT_MAX_COHORT clients with 64-byte names, and a client's 254 neighbours in full. */
#define WEFT_MAX_SECAGG_MESSAGE_BYTES (10U << 20)
/* What a client sends in one step: 254 sealed shares of 80 bytes are the largest. */
#define WEFT_MAX_SECAGG_CLIENT_BYTES (24U << 10)
/* One piece of a coordinator's message: a control message with room for its other fields. */
#define WEFT_MAX_SECAGG_PIECE_BYTES (WEFT_MAX_CONTROL_BYTES - 1024U)
/* A client's stored session: 254 neighbours of about 300 bytes, and the last message. */
#define WEFT_MAX_SECAGG_STATE_BYTES (128U << 10)
/* One closed phase: a bit for each client of the cohort. */
#define WEFT_MAX_SECAGG_RECORD_BYTES (WEFT_MAX_COHORT / 8 + 64)
/* Named metrics of one report. */
#define WEFT_MAX_METRICS           16
#define WEFT_MAX_METRIC_NAME_BYTES 32
/* Data sets that one client declares. */
#define WEFT_MAX_DATASETS 32
/* One sentence from a peer: a reason for abandoning. */
#define WEFT_MAX_REASON_BYTES 256
/* Configuration and job files. */
#define WEFT_MAX_YAML_BYTES (512U << 10)
/* PEM files: keys, certificates, chains of a few. */
#define WEFT_MAX_PEM_BYTES (64U << 10)

#endif
