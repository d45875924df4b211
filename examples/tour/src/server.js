/** An HTTP server that says hello and logs its requests: what the tour runs in machines that have Node.js. */
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  console.log(`${request.method} ${request.url}`)
  response.end('hello')
})
server.listen(Number(process.argv[2]), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
