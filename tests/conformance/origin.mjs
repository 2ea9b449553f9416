// SPDX-License-Identifier: Apache-2.0
// The origin server of the HTTP cache test suite, on a loopback port of its own: its request code, without its listener, which would
// take a fixed port on every address. Usage: node origin.mjs FOLDER-OF-THE-PACKAGE. Prints the port.
import http from 'node:http'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const load = name => import(pathToFileURL(path.join(process.argv[2], 'server', name)))
const parts = {
  config: (await load('handle-config.mjs')).default,
  state: (await load('handle-state.mjs')).default,
  test: (await load('handle-test.mjs')).default
}

const server = http.createServer((request, response) => {
  const [, part, ...rest] = new URL(request.url, 'http://localhost/').pathname.split('/')
  if (part in parts) {
    parts[part](rest, request, response)
  } else {
    response.writeHead(404)
    response.end()
  }
})
console.error = console.log = () => {} // the suite's warnings are no results
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`))
