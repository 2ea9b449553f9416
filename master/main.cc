// SPDX-License-Identifier: Apache-2.0
//
// The one place that knows both sides of the fork: master/ runs the proxy, worker/ is what its children become.
#include "master/cli/cli.h"
#include "worker/caretaker/caretaker.h"
#include "worker/tls/memory.h"
#include "worker/tls/signer.h"
#include "worker/worker.h"

#include <string_view>

int main(int argc, char** argv)
{
    if (argc == 2 && std::string_view(argv[1]) == ladle::worker::kSignerArgument) {
        return ladle::worker::run_signer();
    }
    ladle::worker::use_slots_for_tls();
    return ladle::master::cli::run_cli(argc, argv, {&ladle::worker::run, &ladle::worker::run_caretaker});
}
