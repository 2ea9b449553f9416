// SPDX-License-Identifier: Apache-2.0
//
// The one place that knows both sides of the fork: master/ runs the proxy, worker/ is what its children become.
#include "master/cli/cli.h"
#include "worker/caretaker/caretaker.h"
#include "worker/worker.h"

int main(int argc, char** argv)
{
    return ladle::master::cli::run_cli(argc, argv, {&ladle::worker::run, &ladle::worker::run_caretaker});
}
