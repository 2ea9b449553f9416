// SPDX-License-Identifier: Apache-2.0
//
// The unit tests' main: one executable for all of them (`unit-tests --help`; `-tc='config*'` runs some).
#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/unit/main.h"

#include "worker/tls/memory.h"

#include <doctest/doctest.h>

bool ladle::test::has_slots_for_tls = false;

int main(int argc, char** argv)
{
    ladle::test::has_slots_for_tls = ladle::worker::use_slots_for_tls();
    return doctest::Context(argc, argv).run();
}
