// SPDX-License-Identifier: Apache-2.0
//
// The unit tests' main: one executable for all of them (`unit-tests --help`; `-tc='config*'` runs some).
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
