# Sourced by the launchers beside it: checks of what they are given. One line, exit 2.

refuse() { # MESSAGE
    echo "$(basename "$0"): error: $1" >&2
    exit 2
}

check_number() { # NAME VALUE LEAST
    [[ $2 =~ ^(0|[1-9][0-9]{0,5})$ && $2 -ge $3 ]] || refuse "$1 is a number of at least $3, not '$2'"
}

# Sets NNODES, NODE_RANK, MASTER_ADDR and PORT; torchrun says the rest.
check_nodes() {
    NNODES=${NNODES:-1}
    NODE_RANK=${NODE_RANK:-0}
    PORT=${PORT:-29500}
    check_number NNODES "$NNODES" 1
    check_number NODE_RANK "$NODE_RANK" 0
    ((NODE_RANK < NNODES)) || refuse "NODE_RANK=$NODE_RANK must be below NNODES=$NNODES: nodes are counted from 0"
    check_number PORT "$PORT" 1
    ((PORT <= 65535)) || refuse "PORT is a number up to 65535, not '$PORT'"
    if ((NODE_RANK > 0)) && [[ -z ${MASTER_ADDR:-} ]]; then
        refuse "NODE_RANK=$NODE_RANK needs MASTER_ADDR, the address of the node with NODE_RANK=0"
    fi
    MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
    # The first node listens there.
    if ((NODE_RANK == 0)) && (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
        refuse "PORT=$PORT is in use on this machine; set PORT to a free one, the same on every node"
    fi
}

# Sets GPUS, GPUS_PER_NODE and CPUS_PER_TASK for srun.
check_slurm() {
    command -v srun >/dev/null 2>&1 || refuse "srun is missing; run it on a Slurm cluster, or use tools/dist_${1}.sh"
    GPUS=${GPUS:-8}
    GPUS_PER_NODE=${GPUS_PER_NODE:-8}
    CPUS_PER_TASK=${CPUS_PER_TASK:-5}
    check_number GPUS "$GPUS" 1
    check_number GPUS_PER_NODE "$GPUS_PER_NODE" 1
    check_number CPUS_PER_TASK "$CPUS_PER_TASK" 1
    if ((GPUS_PER_NODE > GPUS)); then GPUS_PER_NODE=$GPUS; fi
}
