"""Is a guide calibrated, what does a posterior owe to its prior, which method is best?"""
