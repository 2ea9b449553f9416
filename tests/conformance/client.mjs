// SPDX-License-Identifier: Apache-2.0
// Runs the tests of the HTTP cache test suite against a proxy: node client.mjs FOLDER-OF-THE-PACKAGE BASE-URL [ID]…
// Prints a JSON object: id → { kind, suite, name, outcome, message }. The outcomes are the suite's own (lib/display.mjs), with dependencies
// honoured where the whole suite runs. With one ID, the exchange is dumped before it.
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [, , folder, base, ...ids] = process.argv
const load = name => import(pathToFileURL(path.join(folder, name)))
const fetch = createRequire(path.join(folder, 'package.json'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]

const outcomes = { '✅': 'pass', '⛔️': 'fail', '⚠️': 'optional_fail', Y: 'yes', N: 'no', '🔹': 'setup_fail', '⁉️': 'harness_fail', '⚪️': 'dependency_fail', '↻': 'retry', '-': 'untested' }

const wanted = suites.map(suite => ({ ...suite, tests: suite.tests.filter(test => !test.browser_only && (ids.length === 0 || ids.includes(test.id))) }))
if (ids.length === 1) {
  wanted.forEach(suite => suite.tests.forEach(test => { test.dump = true }))
}
await runTests(wanted, fetch, false, base, 60)
const results = getResults()
const out = {}
for (const suite of wanted) {
  for (const test of suite.tests) {
    const outcome = outcomes[determineTestResult(suites, test.id, results, ids.length === 0)[2]]
    const message = Array.isArray(results[test.id]) ? results[test.id].join(': ') : ''
    out[test.id] = { kind: test.kind || 'required', suite: suite.id, name: test.name, outcome, message }
  }
}
process.stdout.write(JSON.stringify(out, null, 1) + '\n', () => process.exit(0)) // kept connections would hold it up
