"""Training: one step and one loop for pretraining, fine-tuning and reward models; then the stages pretrain and sft."""
