const core = require('@vmkit/core')
require('@vmkit/process')

console.log(JSON.stringify({ createManager: typeof core.createManager, drivers: core.registeredDrivers().map(({ name }) => name) }))
