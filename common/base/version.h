/* SPDX-License-Identifier: Apache-2.0 */
/* weft's version, in one place; meson.build reads it from here. */
#ifndef WEFT_VERSION_H
#define WEFT_VERSION_H
#define WEFT_VERSION "0.1.0"
#endif
