export { exportBundle, importBundle } from './bundle.js'
export { cancelIncoming, finishIncoming, migrateOut, prepareIncoming } from './migrate.js'
export { clone, deleteSnapshot, listSnapshots, restore, snapshot } from './snapshots.js'
