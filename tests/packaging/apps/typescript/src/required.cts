import core = require('@vmkit/core')
import process = require('@vmkit/process/driver')

console.log(JSON.stringify([typeof core.createManager, Object.keys(process).length > 0]))
